# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ElasticHosts API server: the cloud that an OpenNebula front-end bursts to.

Rooms, from the wire inwards:

    __main__    options, bad input said in one sentence
    serving     socket, uvicorn, signals
    app         the calls as a table; authentication, bodies, errors, logs around every one of them
    formats     text/plain and application/json, in and out
    drives, servers, standard      what the calls do
    properties, values, platform   what a key may hold, as data
    cloud       the objects in memory, and the one place that writes them to the store
    store       SQLite: committed before it is answered
    blocks      sparse files
    hypervisor  where guests run: simulated here, libvirt later, behind one protocol
    accounts, addresses, clock, errors

It shares no code with the client side of this collection: each is the other's test.
"""
