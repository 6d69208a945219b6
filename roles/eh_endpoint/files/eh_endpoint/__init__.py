# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ElasticHosts API server: the cloud to which an OpenNebula front-end bursts.

    __main__, options   the command line
    serving             the process: builds all parts, sockets, uvicorn, signals
    protocols           HTTP and WebSockets of uvicorn
    request_log         a line per request
    log_file            logs that cannot be written
    backup              copies of the state folder
    errors              the errors of the API
    api                 the HTTP API: application, table of calls, formats, keys and values, accounts, quotas
    web                 the status page and the consoles of guests
    state               objects, database, drive files, copies between drives
    hypervisor          the protocol for what runs guests, and simulated guests
    libvirt             real guests
    testing             fault rules, broken responses, control port, clock

A request: serving -> api.app (authentication, fault rules, log) -> a route of api.calls or web.routes -> the method of
api.servers, api.drives, ... -> state and hypervisor.

The endpoint shares no code with the client side of this collection: each tests the other.
"""
