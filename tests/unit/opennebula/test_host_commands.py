# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commands tell an OpenNebula of its burst hosts, by release and by what it knows already."""

from __future__ import annotations

import pytest

from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula import host_commands
from ansible_collections.opennebula.elastichosts.plugins.module_utils.opennebula.host_commands import (
    Cluster,
    Datastore,
    DesiredObjects,
    ExistingObjects,
    Host,
    HostCommandError,
    plan_absent,
    plan_present,
)

WANTED = DesiredObjects(("eh",))
OURS = ("im_eh", "vmm_eh")
GROUPED = ["onecluster create eh", "onedatastore create FILE -c eh"]
NAMED = [*GROUPED, "onecluster update eh FILE"]
"""3.6 to 3.8: the template of a cluster names its system datastore"""


def lines(commands: list[host_commands.Command]) -> list[str]:
    return [command.line for command in commands]


def known(*, vms: int = 0, extra: tuple[str, ...] = (), named: str = "101") -> ExistingObjects:
    """All that the plan makes, as the core lists it afterwards."""
    template = f"<TEMPLATE><SYSTEM_DS>{named}</SYSTEM_DS></TEMPLATE>"
    return ExistingObjects(
        (Host("7", "eh", 2, OURS, vms),),
        (Cluster("100", "eh", ("7", *extra), ("101",), (), template),),
        (Datastore("0", "system", "shared"), Datastore("101", "eh_system", "eh")),
    )


@pytest.mark.parametrize(
    ("release", "grouped", "create"),
    [
        ("2.0", [], "onehost create eh im_eh vmm_eh tm_dummy"),
        ("3.0", [], "onehost create eh im_eh vmm_eh tm_dummy"),
        ("3.2.1", [], "onehost create eh im_eh vmm_eh tm_dummy dummy"),
        ("3.4", [], "onehost create eh -i im_eh -v vmm_eh -n dummy"),
        ("3.6", NAMED, "onehost create eh -i im_eh -v vmm_eh -n dummy -c eh"),
        ("3.8.5", NAMED, "onehost create eh -i im_eh -v vmm_eh -n dummy -c eh"),
        ("4.0", GROUPED, "onehost create eh -i im_eh -v vmm_eh -n dummy -c eh"),
        ("4.14.2", GROUPED, "onehost create eh -i im_eh -v vmm_eh -n dummy -c eh"),
        ("5.0", GROUPED, "onehost create eh -i im_eh -v vmm_eh -c eh"),
        ("7.4.0", GROUPED, "onehost create eh -i im_eh -v vmm_eh -c eh"),
    ],
)
def test_a_fresh_core_is_told_in_the_words_of_its_release(release: str, grouped: list[str], create: str) -> None:
    assert lines(plan_present(release, WANTED, ExistingObjects())) == [*grouped, create]


@pytest.mark.parametrize(("release", "line"), [("3.8", 'SYSTEM = "YES"'), ("4.0", 'TYPE = "SYSTEM_DS"')])
def test_what_makes_a_datastore_a_system_one_depends_on_the_release(release: str, line: str) -> None:
    template = plan_present(release, WANTED, ExistingObjects())[1].template
    assert template.splitlines() == ['NAME = "eh_system"', line, 'TM_MAD = "eh"']


@pytest.mark.parametrize("release", ["3.8", "7.4"])
def test_what_is_there_is_not_made_again(release: str) -> None:
    assert plan_present(release, WANTED, known()) == []


@pytest.mark.parametrize("named", ["", "0", "55"])
def test_a_cluster_of_3_8_that_names_no_datastore_or_one_that_is_gone_gets_ours(named: str) -> None:
    (command,) = plan_present("3.8", WANTED, known(named=named))
    assert command == host_commands.Command(
        "onecluster", ("update", "eh", "FILE"), "<TEMPLATE><SYSTEM_DS>101</SYSTEM_DS></TEMPLATE>"
    )
    assert plan_present("4.0", WANTED, known(named=named)) == []


def test_a_cluster_of_3_8_whose_datastore_is_another_is_refused() -> None:
    found = known(named="9")
    more = ExistingObjects(found.hosts, found.clusters, (*found.datastores, Datastore("9", "fast", "ssh")))
    with pytest.raises(
        HostCommandError, match=r"The cluster eh has the system datastore fast, .*one_eh_driver_cluster"
    ):
        plan_present("3.8", WANTED, more)
    assert plan_present("4.0", WANTED, more) == []


def test_a_template_keeps_all_but_the_name_of_the_datastore() -> None:
    group = Cluster("1", "c", template="<TEMPLATE><A>x &lt; y</A><SYSTEM_DS>4</SYSTEM_DS><B><C>1</C></B></TEMPLATE>")
    assert group.system_datastore == "4"
    assert group.template_with("5") == ("<TEMPLATE><A>x &lt; y</A><B><C>1</C></B><SYSTEM_DS>5</SYSTEM_DS></TEMPLATE>")
    assert group.template_with("") == "<TEMPLATE><A>x &lt; y</A><B><C>1</C></B></TEMPLATE>"


def test_what_is_in_another_cluster_is_moved() -> None:
    found = known()
    elsewhere = ExistingObjects(
        found.hosts, (Cluster("100", "eh"), Cluster("0", "default", ("7",), ("101",))), found.datastores
    )
    commands = lines(plan_present("7.4", WANTED, elsewhere))
    assert commands == ["onecluster adddatastore eh eh_system", "onecluster addhost eh eh"]


def test_a_host_or_datastore_of_somebody_else_is_refused() -> None:
    with pytest.raises(HostCommandError, match="a host eh already, with the drivers kvm and kvm"):
        plan_present("7.4", WANTED, ExistingObjects((Host("1", "eh", 2, ("kvm", "kvm")),)))
    with pytest.raises(HostCommandError, match="a datastore eh_system already, with the transfer driver ssh"):
        plan_present("7.4", WANTED, ExistingObjects((), (), (Datastore("3", "eh_system", "ssh"),)))


def test_removal_takes_all_of_it_and_nothing_else() -> None:
    assert lines(plan_absent("7.4", WANTED, known())) == [
        "onehost delete eh",
        "onedatastore delete eh_system",
        "onecluster delete eh",
    ]
    assert lines(plan_absent("2.0", WANTED, known())) == ["onehost delete eh"]
    assert plan_absent("7.4", WANTED, ExistingObjects((Host("1", "node1", 2, ("kvm", "kvm")),))) == []


def test_a_cluster_with_members_of_somebody_else_stays() -> None:
    assert lines(plan_absent("7.4", WANTED, known(extra=("9",)))) == [
        "onehost delete eh",
        "onedatastore delete eh_system",
    ]


def test_what_else_a_cluster_holds_is_named() -> None:
    found = known(extra=("9", "10"))
    hosts = (*found.hosts, Host("9", "node1", 2, ("kvm", "kvm")))
    stores = (*found.datastores, Datastore("3", "images", "ssh"))
    (cluster,) = found.clusters
    fuller = Cluster(cluster.id, cluster.name, cluster.hosts, (*cluster.datastores, "3"), ("5",))
    assert host_commands.others(WANTED, ExistingObjects(hosts, (fuller,), stores)) == [
        "the host node1",
        "the host 10",
        "the datastore images",
        "the virtual network 5",
    ]
    assert host_commands.others(WANTED, known()) == host_commands.others(WANTED, ExistingObjects()) == []


def test_no_cluster_of_3_8_names_a_datastore_that_is_gone() -> None:
    assert lines(plan_absent("3.8", WANTED, known(extra=("9",)))) == [
        "onehost delete eh",
        "onecluster update eh FILE",
        "onedatastore delete eh_system",
    ]
    found = known()
    second = Cluster("200", "also", (), (), (), "<TEMPLATE><SYSTEM_DS>101</SYSTEM_DS></TEMPLATE>")
    both = ExistingObjects(found.hosts, (*found.clusters, second), found.datastores)
    commands = plan_absent("3.8", WANTED, both)
    assert lines(commands) == [
        "onehost delete eh",
        "onecluster update also FILE",
        "onedatastore delete eh_system",
        "onecluster delete eh",
    ]
    assert commands[1].template == "<TEMPLATE />"


def test_hosts_with_virtual_machines_stop_a_removal_unless_it_is_forced_and_then_stay() -> None:
    with pytest.raises(HostCommandError, match=r"Virtual machines still run .*: eh \(3\)\. Terminate them first"):
        plan_absent("7.4", WANTED, known(vms=3))
    assert plan_absent("7.4", WANTED, known(vms=3), force=True) == []


@pytest.mark.parametrize("release", ["1.4", "newest", "7", ""])
def test_what_is_no_release_of_ours_is_refused(release: str) -> None:
    with pytest.raises(HostCommandError):
        host_commands.form(release)


class TestReading:
    def test_xml_of_old_and_new_releases(self) -> None:
        text = (
            "<HOST_POOL><HOST><ID>3</ID><NAME>eh</NAME><STATE>3</STATE><IM_MAD>im_eh</IM_MAD><VM_MAD>vmm_eh</VM_MAD>"
            "<HOST_SHARE><RUNNING_VMS>2</RUNNING_VMS></HOST_SHARE><TEMPLATE><ERROR>no</ERROR></TEMPLATE></HOST>"
            "<HOST><ID>4</ID><NAME>n</NAME><STATE>2</STATE><VMS><ID>1</ID></VMS></HOST></HOST_POOL>"
        )
        first, second = host_commands.read_hosts(text)
        assert first == Host("3", "eh", 3, OURS, 2, "no")
        assert (first.state_name, second.vms, second.is_ours) == ("ERROR", 1, False)

    def test_clusters_with_their_templates(self) -> None:
        text = (
            "<CLUSTER_POOL><CLUSTER><ID>100</ID><NAME>eh</NAME><HOSTS><ID>7</ID></HOSTS><DATASTORES/><VNETS/><TEMPLATE>"
            "<A><![CDATA[<b> & c]]></A></TEMPLATE></CLUSTER><CLUSTER><ID>0</ID><NAME>default</NAME></CLUSTER>"
            "</CLUSTER_POOL>"
        )
        first, second = host_commands.read_clusters(text)
        assert first == Cluster("100", "eh", ("7",), template="<TEMPLATE><A>&lt;b&gt; &amp; c</A></TEMPLATE>")
        assert second == Cluster("0", "default")

    def test_a_virtual_machine_that_has_come_to_its_end(self) -> None:
        assert host_commands.is_done("<VM><ID>1</ID><STATE>6</STATE></VM>")
        assert not host_commands.is_done("<VM><STATE>3</STATE><USER_TEMPLATE><STATE>6</STATE></USER_TEMPLATE></VM>")
        assert not host_commands.is_done("no XML")

    def test_the_table_of_a_command_line_without_xml(self) -> None:
        text = (
            "  HID NAME   CLUSTER  RVM   TCPU   FCPU   ACPU    TMEM    FMEM STAT\n"
            "    0 eh     default    1    200    200    200      2G      2G   on\n"
        )
        assert host_commands.read_hosts(text) == (Host("0", "eh", 2, (), 1),)

    @pytest.mark.parametrize(
        "text", ["", "Connection refused", "<HOST_POOL>", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>']
    )
    def test_what_is_neither_is_said(self, text: str) -> None:
        with pytest.raises(HostCommandError, match="printed neither XML nor its table"):
            host_commands.read_hosts(text)
        with pytest.raises(HostCommandError, match="printed no XML"):
            host_commands.read_clusters(text)
