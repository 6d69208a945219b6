# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of servers: who comes and who goes, and what is left when a part of it fails."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts import errors
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.client import ElasticHosts
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.clock import Clock, Deadline
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drive_copy import (
    Source,
    check_unused,
    copy_onto,
    find_source,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.drives import Drive
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.group_apply import (
    Done,
    Recipe,
    apply_group,
    look,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.group_plan import (
    GroupPlan,
    Listing,
    find_group,
    marks,
    plan_group,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.resources import Resource
from ansible_collections.opennebula.elastichosts.plugins.module_utils.elastichosts.servers import Server
from tests.unit.elastichosts import scripted as script
from tests.unit.elastichosts.scripted import Relay, says

SPEC = {"cpu": "500", "mem": "256", "persistent": "true", "nic:0:model": "e1000", "nic:0:dhcp": "auto"}


def member(number: int, status: str = "active", **more: str) -> Server:
    return Server(
        {"server": f"s{number}", "name": f"web-{number}", "status": status, "persistent": "true"}
        | marks("web", number)
        | more
    )


def planned(count: int, *servers: Server, exact: bool = True, **things: list[Drive] | list[Resource]) -> GroupPlan:
    listing = Listing(servers, things.get("drives", []), things.get("resources", []))  # type: ignore[arg-type]
    return plan_group(find_group("web", listing), count, lambda server: {}, exact=exact)


def removed(plan: GroupPlan) -> list[str]:
    return [one.server.name for one in plan.remove]


# Who comes and who goes


def test_new_members_get_the_lowest_numbers_that_are_free() -> None:
    assert planned(3).make == (1, 2, 3)
    assert planned(4, member(2), member(5)).make == (1, 3)


def test_a_name_that_another_server_has_is_left_out() -> None:
    stranger = Server({"server": "x", "name": "web-1", "status": "active"})
    assert planned(2, stranger).make == (2, 3)


def test_the_highest_numbers_go_first() -> None:
    assert removed(planned(1, member(1), member(3), member(2))) == ["web-3", "web-2"]


def test_what_does_not_run_goes_before_the_highest_number() -> None:
    plan = planned(1, member(1), member(2, "stopped"), member(3), member(4, "dead"))
    assert removed(plan) == ["web-4", "web-2", "web-3"]


def test_none_is_a_number_too() -> None:
    plan = planned(0, member(1), member(2))
    assert (removed(plan), plan.make, plan.keep) == (["web-2", "web-1"], (), ())


def test_at_least_takes_nobody_away() -> None:
    plan = planned(1, member(1), member(2), exact=False)
    assert not plan.changed
    assert planned(3, member(1), member(2), exact=False).make == (3,)


def test_members_of_other_groups_are_nobody_s_business() -> None:
    other = Server({"server": "x", "name": "db-1", "status": "active", **marks("db", 1)})
    assert planned(0, other).remove == ()


def test_a_member_that_stays_is_started() -> None:
    plan = planned(1, member(1, "stopped"))
    assert [[step.verb for step in one.steps] for _member, one in plan.keep] == [["start"]]


def test_leftovers_are_what_no_server_names_and_whose_member_is_not_there() -> None:
    drives = [
        Drive({"drive": "orphan", **marks("web", 7)}),
        Drive({"drive": "taken-off", **marks("web", 1)}),
        Drive({"drive": "elsewhere", **marks("web", 8)}),
        Drive({"drive": "own", **marks("web", 1)}),
        Drive({"drive": "stranger"}),
    ]
    resources = [Resource({"type": "ip", "resource": "192.0.2.7", **marks("web", 7)})]
    first = member(1, **{"ide:0:0": "own"})
    other = Server({"server": "x", "name": "x", "status": "stopped", "ide:0:0": "elsewhere"})
    plan = planned(1, first, other, drives=drives, resources=resources)
    assert [thing.identity for thing in plan.leftovers] == ["orphan", "192.0.2.7"]


def test_a_drive_that_another_server_names_too_is_not_the_member_s_own() -> None:
    drive = Drive({"drive": "shared", **marks("web", 1)})
    other = Server({"server": "x", "name": "x", "status": "stopped", "ide:0:0": "shared"})
    plan = planned(0, member(1, **{"ide:0:0": "shared"}), other, drives=[drive])
    assert plan.remove[0].drives == ()


STATUSES = st.sampled_from(["active", "stopped", "dead"])


@given(st.dictionaries(st.integers(1, 12), STATUSES), st.integers(0, 12), st.booleans())
def test_any_group_comes_to_its_count_with_as_few_moves_as_can_be(
    found: dict[int, str], count: int, exact: bool
) -> None:
    plan = planned(count, *(member(number, status) for number, status in found.items()), exact=exact)
    after = len(found) - len(plan.remove) + len(plan.make)
    assert after == (count if exact else max(count, len(found)))
    assert not (plan.make and plan.remove)
    assert len(plan.keep) + len(plan.remove) == len(found)
    assert not set(plan.make) & set(found)


# Making and unmaking


def carried_out(client: ElasticHosts, count: int, recipe: Recipe, **options: int) -> Done:
    group = find_group(recipe.group, look(client))
    plan = plan_group(group, count, lambda server: {}, exact=True)
    return apply_group(client, plan, recipe, Deadline(20, Clock()), **{"concurrency": 4, **options})


def golden(client: ElasticHosts) -> Source:
    client.drives.create({"name": "golden", "size": "4M"})
    return find_source(client, "golden")


@pytest.fixture
def real(relay: Relay, cloud: ElasticHosts) -> ElasticHosts:
    """A client through the relay on the real clock, since threads share it."""
    account = cloud.transport.account
    return ElasticHosts(relay.url, f"{account.user}:{account.key}")


def everything(client: ElasticHosts) -> tuple[list[str], list[str], list[tuple[str, ...]]]:
    return (
        sorted(server.name for server in client.servers.info()),
        sorted(drive.name for drive in client.drives.info()),
        client.resources.list(),
    )


def test_members_with_all_parts_come_and_go_without_a_trace(cloud: ElasticHosts) -> None:
    recipe = Recipe("web", SPEC, golden(cloud), "ide:0:0", {"tier": "ssd"}, static=True)
    done = carried_out(cloud, 3, recipe)
    assert done.failures == ()
    servers, drives, resources = everything(cloud)
    assert servers == ["web-1", "web-2", "web-3"]
    assert drives == ["golden", *servers]
    assert sorted(server.address or "" for server in done.there) == sorted(address for _ip, address in resources)
    assert carried_out(cloud, 0, recipe).removed != ()
    assert everything(cloud) == ([], ["golden"], [])


def test_a_refused_server_takes_its_drive_and_address_with_it(
    real: ElasticHosts, relay: Relay, cloud: ElasticHosts
) -> None:
    recipe = Recipe("web", SPEC, golden(cloud), static=True)
    relay.on("POST /servers/create", says(402, "billing", "no money"))
    done = carried_out(real, 3, recipe)
    assert isinstance(done.failures[0].error, errors.BillingError)
    assert done.failures[0].left == ()
    assert everything(cloud) == ([], ["golden"], [])


def test_after_a_failure_no_further_member_is_begun(real: ElasticHosts, relay: Relay) -> None:
    relay.on("POST /servers/create", says(402, "billing", "no money"))
    done = carried_out(real, 20, Recipe("web", SPEC), concurrency=2)
    assert relay.count("POST /servers/create") <= 4
    assert len(done.failures) <= 4


def test_one_failure_leaves_the_members_that_worked_out(real: ElasticHosts, relay: Relay, cloud: ElasticHosts) -> None:
    relay.on("POST /servers/create", script.forward, times=2).on("POST /servers/create", says(402, "billing"), times=1)
    done = carried_out(real, 5, Recipe("web", SPEC), concurrency=1)
    assert [server.name for server in done.there] == ["web-1", "web-2"]
    assert [failure.name for failure in done.failures] == ["web-3"]
    assert everything(cloud)[0] == ["web-1", "web-2"]
    assert [server.name for server in carried_out(real, 5, Recipe("web", SPEC)).made] == ["web-3", "web-4", "web-5"]


def test_what_cannot_be_undone_is_named(real: ElasticHosts, relay: Relay, cloud: ElasticHosts) -> None:
    recipe = Recipe("web", SPEC, golden(cloud))
    relay.on("POST /servers/create", says(402, "billing")).on("POST /drives/.*/destroy", says(500, "failed", "stuck"))
    done = carried_out(real, 1, recipe)
    drive = next(drive for drive in cloud.drives.info() if drive.name == "web-1")
    assert done.failures[0].left[0].startswith(f"drive {drive.uuid} (POST /drives/{drive.uuid}/destroy")


def test_what_a_killed_run_left_is_cleaned_up_by_the_next(cloud: ElasticHosts) -> None:
    cloud.drives.create({"name": "web-4", "size": "4M", **marks("web", 4)})
    cloud.resources.create("ip", {"name": "web-4", **marks("web", 4)})
    assert carried_out(cloud, 1, Recipe("web", SPEC)).failures == ()
    assert everything(cloud) == (["web-1"], [], [])


def test_a_lost_answer_makes_no_second_member(real: ElasticHosts, relay: Relay, cloud: ElasticHosts) -> None:
    relay.on("POST /servers/create", script.cut_after, times=3)
    assert carried_out(real, 4, Recipe("web", SPEC)).failures == ()
    assert everything(cloud)[0] == ["web-1", "web-2", "web-3", "web-4"]


def test_members_are_made_side_by_side_but_never_more_than_allowed(
    real: ElasticHosts, relay: Relay, cloud: ElasticHosts
) -> None:
    lock, now, most = threading.Lock(), 0, 0
    meeting = threading.Barrier(3, timeout=5)

    def counted(handler: script.Handler) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        meeting.wait()
        script.forward(handler)
        with lock:
            now -= 1

    relay.on("POST /servers/create", counted)
    assert carried_out(real, 9, Recipe("web", SPEC), concurrency=3).failures == ()
    assert most <= 3


def test_addresses_of_all_members_are_waited_for_with_one_listing_per_look(
    real: ElasticHosts, relay: Relay, cloud: ElasticHosts
) -> None:
    def without_address(handler: script.Handler) -> None:
        reply = handler.upstream()
        text = reply.text.replace('"nic:0:dhcp:ip"', '"user:a"').replace('"nic:0:ip"', '"user:b"')
        handler.answer(reply.status_code, {"Content-Type": "application/json"}, text.encode())

    relay.on("POST /servers/(create|[^/]*/set)", without_address)
    done = carried_out(real, 5, Recipe("web", SPEC))
    assert all(server.address for server in done.there)
    assert relay.count("GET /servers/[^/]*/info") == 0
    assert relay.count("GET /servers/info") == 2 + 5, "one for each member that is made, whether it is the only one"


def test_a_standard_drive_is_unpacked_and_an_own_one_copied(cloud: ElasticHosts) -> None:
    standard = next(drive for drive in cloud.standard_drives.info() if drive.properties.get("format") == "gzip")
    source = find_source(cloud, standard.name)
    assert (source.conversion, source.size) == ("gunzip", int(standard.properties["rawsize"]))
    own = golden(cloud)
    assert (own.conversion, own.size) == (None, 4 << 20)
    assert find_source(cloud, own.drive.uuid.upper()) == own
    with pytest.raises(errors.Refused, match="no drive 'nothing' to copy from"):
        find_source(cloud, "nothing")
    cloud.drives.create({"name": "golden", "size": "4M"})
    with pytest.raises(errors.NotUnique, match="2 drives are called 'golden'"):
        find_source(cloud, "golden")


# --- a source in use


def running(cloud: ElasticHosts, drive: str, **more: str) -> str:
    return cloud.servers.create({**SPEC, "persistent": "true", "ide:0:0": drive, **more}).uuid


def test_a_source_that_a_running_server_uses_is_refused_when_it_is_checked_and_when_it_is_copied(
    real: ElasticHosts, relay: Relay, cloud: ElasticHosts
) -> None:
    before = golden(cloud)
    target = cloud.drives.create({"name": "copy", "size": "4M"}).uuid
    server = running(cloud, before.drive.uuid)
    words = rf"drive 'golden' \({before.drive.uuid}\) is in use by {server}, .*source_in_use: allow"
    relay.calls.clear()
    for act in (
        lambda: check_unused(real, find_source(real, "golden")),
        lambda: copy_onto(real, target, before, Deadline(10, Clock())),  # it was started after the check
    ):
        with pytest.raises(errors.SourceInUse, match=words):
            act()
    assert relay.count("POST .*") == 0
    allowed = find_source(real, "golden", may_be_in_use=True)
    check_unused(real, allowed)
    assert copy_onto(real, target, allowed, Deadline(10, Clock())).imaging is None
    cloud.servers.stop(server)
    check_unused(real, find_source(real, "golden"))


def test_a_shared_source_is_refused_by_the_claims_of_either_platform(real: ElasticHosts, cloud: ElasticHosts) -> None:
    source = golden(cloud)
    server = running(cloud, cloud.drives.create({"name": "other", "size": "4M"}).uuid)
    host = "12345678-0000-4000-8000-000000000000"
    for claims in (server, f"{host}:guest:{server}:ide:0:0", f"{source.drive.uuid} {server}"):
        drive = Drive({**source.drive.properties, "claimed": claims})
        with pytest.raises(errors.SourceInUse, match=server):
            check_unused(real, source._replace(drive=drive))
    for claims in ("", source.drive.uuid):  # another copy holds a source as well
        check_unused(real, source._replace(drive=Drive({**source.drive.properties, "claimed": claims})))
    foreign = Drive({**source.drive.properties, "user": host, "claimed": source.drive.uuid})
    with pytest.raises(errors.SourceInUse, match=source.drive.uuid):
        check_unused(real, source._replace(drive=foreign))


def test_a_standard_drive_is_copied_whoever_uses_it(cloud: ElasticHosts) -> None:
    standard = next(drive for drive in cloud.standard_drives.info() if drive.properties.get("format") != "gzip")
    running(cloud, standard.uuid, **{"ide:0:0:media": "cdrom"})
    source = find_source(cloud, standard.uuid)
    assert source.drive.claimed
    check_unused(cloud, source)
    target = cloud.drives.create({"name": "copy", "size": str(source.size)})
    assert copy_onto(cloud, target.uuid, source, Deadline(60, Clock())).imaging is None
