# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ElasticHosts API server: the cloud that an OpenNebula front-end bursts to.

Rooms, from the wire inwards:

    __main__    options, bad input said in one sentence
    serving     socket, uvicorn, signals
    app         authentication, faults, bodies, errors, logs around every call
    calls       the calls as a table
    formats     text/plain and application/json, in and out
    drives, folders, servers, resources, standard      what the calls do
    imaging     copies of drives onto drives, in threads
    properties, values, platform, quotas               what a key may hold, an account may have, as data
    faults, mischief, control                          what goes wrong when a test asks for it
    cloud       the objects in memory, and the one place that writes them to the store
    store       SQLite: committed before it is answered
    blocks, contents      sparse files; what they hold as a stream
    hypervisor  where guests run: simulated here, libvirt later, behind one protocol
    accounts, addresses, clock, errors

It shares no code with the client side of this collection: each is the other's test.
"""
