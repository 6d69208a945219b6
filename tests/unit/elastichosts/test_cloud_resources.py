# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Static addresses and VLANs: the calls against the real endpoint, plans and lost answers."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.apply import (
    apply_drive,
    apply_resource,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.http_client import Timeouts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.plan import plan_drive, plan_resource
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.resources import Resource
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.safe_retry import is_late
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from tests.support.endpoint import KEY, USER
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import FakeClock, Relay, says

kinds = pytest.mark.parametrize("kind", ["ip", "vlan"])


@kinds
def test_a_resource_lives_its_whole_life(cloud: ElasticHosts, kind: str) -> None:
    made = cloud.resources.create(kind, {"name": "web", "user:role": "x"})
    assert (made.type, made.name, made.user_keys) == (kind, "web", {"role": "x"})
    assert cloud.resources.list() == [(kind, made.resource)]
    assert cloud.resources.get(kind, made.resource) == made
    renamed = cloud.resources.set(kind, made.resource, {"name": "db", "user:role": None})
    assert (renamed.name, renamed.user_keys) == ("db", {})
    for wanted in ("db", made.resource):
        assert cloud.resources.find(kind, wanted) == renamed
    cloud.resources.destroy(kind, made.resource)
    assert cloud.resources.info() == []
    for wanted in ("db", made.resource):
        assert cloud.resources.find(kind, wanted) is None


@kinds
def test_two_of_a_name_are_told_apart_by_identity_only(cloud: ElasticHosts, kind: str) -> None:
    both = [cloud.resources.create(kind, {"name": "web"}) for _n in range(2)]
    with pytest.raises(errors.NotUnique) as caught:
        cloud.resources.find(kind, "web")
    assert set(caught.value.candidates) == {one.resource for one in both}
    for one in both:
        cloud.resources.destroy(kind, one.resource)


def test_a_vlan_and_an_address_may_share_a_name(cloud: ElasticHosts) -> None:
    both = {kind: cloud.resources.create(kind, {"name": "web"}) for kind in ("ip", "vlan")}
    for kind, one in both.items():
        assert cloud.resources.find(kind, "web") == one
        cloud.resources.destroy(kind, one.resource)


def test_who_uses_a_resource_is_seen_in_the_words_of_every_platform() -> None:
    address = Resource({"type": "ip", "resource": "192.0.2.7"})
    vlan = Resource({"type": "vlan", "resource": "v"})
    servers = [
        Server({"server": "static", "nic:0:dhcp": "192.0.2.7"}),
        Server({"server": "late", "nic:0:dhcp": "auto", "nic:0:dhcp:ip": "192.0.2.6 192.0.2.7"}),
        Server({"server": "near", "nic:0:dhcp": "192.0.2.77", "user:note": "192.0.2.7"}),
        Server({"server": "net", "nic:1:vlan": "v"}),
    ]
    assert address.users(servers) == ("static", "late")
    assert vlan.users(servers) == ("net",)
    assert Resource({"type": "firewall", "resource": "f"}).users(servers) == ()


def test_a_resource_in_use_is_refused_before_any_call() -> None:
    address = Resource({"type": "ip", "resource": "192.0.2.7", "name": "web"})
    with pytest.raises(errors.Refused, match=r"ip 'web' \(192.0.2.7\) is in use by server s1 s2: take it from"):
        plan_resource({}, "absent", address, ("s1", "s2"))
    assert plan_resource({}, "absent", address).steps[0].verb == "destroy"
    assert not plan_resource({"name": "web"}, "present", address, ("s1",)).changed


FAULTS = [script.cut_before, script.cut_after, says(503), script.fails_after(500, "system"), says(429)]


@kinds
@pytest.mark.parametrize("fault", FAULTS)
def test_one_resource_is_made_and_destroyed_whatever_becomes_of_the_answers(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock, kind: str, fault: script.Action
) -> None:
    for verb in ("create", "destroy"):
        relay.on(f"POST /resources/.*{verb}", fault, times=1)
    plan = plan_resource({"name": "web"}, "present", None, kind=kind)
    made = apply_resource(relayed, plan, None, Deadline(60, clock), kind=kind)
    assert made is not None
    assert cloud.resources.list() == [(kind, made.resource)]
    gone = plan_resource({}, "absent", made, kind=kind)
    assert apply_resource(relayed, gone, made, Deadline(60, clock), kind=kind) is None
    assert cloud.resources.list() == []


def test_an_answer_that_took_too_long_is_not_followed_by_a_second_attempt(
    relayed: ElasticHosts, relay: Relay, clock: FakeClock
) -> None:
    """The cloud may still be at work on the first: two would be worse than a failure."""
    relay.on("POST /drives/create", says(504))
    plan = plan_drive({"name": "root", "size": "4M"}, "present", None)
    with pytest.raises(errors.SystemFault, match="run this again later, it is looked for before it is made"):
        apply_drive(relayed, plan, None, Deadline(60, clock))
    assert relay.count("POST /drives/create") == 1
    assert relay.count("GET /drives/info") == 6


def test_an_answer_that_took_too_long_and_was_made_after_all_is_found(
    relayed: ElasticHosts, relay: Relay, cloud: ElasticHosts, clock: FakeClock
) -> None:
    relay.on("POST /drives/create", script.fails_after(504, ""), times=1)
    plan = plan_drive({"name": "root", "size": "4M"}, "present", None)
    made = apply_drive(relayed, plan, None, Deadline(60, clock))
    assert made is not None
    assert cloud.drives.list() == [made.uuid]


def test_a_read_time_out_counts_as_late(relay: Relay) -> None:
    relay.on("POST .*", script.hang(threading.Event()), times=1)
    hasty = ElasticHosts(relay.url, f"{USER}:{KEY}", clock=Clock(), timeouts=Timeouts(1, 0.1))
    with hasty, pytest.raises(errors.AnswerLost) as caught:
        hasty.drives.create({"size": "4M"})
    assert is_late(caught.value)
    assert not is_late(errors.AnswerLost("the connection broke"))
