"""Groups, hosts, variables and patterns as Ansible has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.fleet import WorkspaceError
from reconciler.workspace import Inventory, load_inventory
from reconciler.workspace.addresses import split_port
from reconciler.workspace.ranges import expand

CASE = Path(__file__).parents[1] / "cases" / "inventory" / "precedence-together"


@pytest.fixture
def inventory() -> Inventory:
    """A case that real ansible-core judges, so that the values here are its own."""
    return load_inventory(CASE, inventory=[Path("hosts.yaml")])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gpu[01:03]", ["gpu01", "gpu02", "gpu03"]),
        ("gpu[1:3]", ["gpu1", "gpu2", "gpu3"]),
        ("gpu[:2]", ["gpu0", "gpu1", "gpu2"]),
        ("n[0:10:5]", ["n0", "n5", "n10"]),
        ("db-[a:f:2]", ["db-a", "db-c", "db-e"]),
        ("r[1:2]n[a:b].lan", ["r1na.lan", "r1nb.lan", "r2na.lan", "r2nb.lan"]),
        ("[08:10]", ["08", "09", "10"]),
        ("plain", ["plain"]),
    ],
)
def test_workspace_ranges_expand_as_in_ansible(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize(
    "pattern", ["n[5:1]", "n[01:100]", "n[1:]", "n[1:2:0]", "n[1:99999999999]", "n[1:9:x]", "n[c:a]", "n[1:9999]x[1:9999]"]
)
def test_workspace_wrong_or_huge_ranges_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"range|hosts|step"):
        expand(pattern)


def test_workspace_a_port_is_split_off() -> None:
    assert split_port("p1:2222") == ("p1", 2222)
    assert split_port("gpu[01:32]") == ("gpu[01:32]", None)
    assert split_port("[::1]:22") == ("::1", 22)


def test_workspace_variables_follow_ansibles_precedence(inventory: Inventory) -> None:
    two = inventory.variables("gpu02")
    assert two["a"] == "host"
    assert two["b"] == "big"
    assert two["c"] == "zig"
    assert inventory.variables("gpu03")["a"] == "file_all"
    assert inventory.variables("gpu01")["a"] == "file_berlin"
    assert inventory.variables("gpu01")["inline"] == "file"
    assert inventory.variables("p1")["ansible_port"] == 2222
    assert "ansible_group_priority" not in two


def test_workspace_hashes_replace_each_other(inventory: Inventory) -> None:
    assert inventory.variables("gpu03")["h"] == {"x": 9}
    assert inventory.variables("gpu03")["merged"] == {"r": 1}
    assert inventory.variables("gpu03")["deep"] == 1
    assert "hidden" not in inventory.variables("gpu03")


def test_workspace_inventory_is_yaml_1_1_and_keeps_tags(inventory: Inventory) -> None:
    lone = inventory.variables("lone")
    assert (lone["oct"], lone["y"], lone["secret"]) == (8, True, {"__ansible_unsafe": "{{ x }}"})


def test_workspace_the_listing_has_the_form_of_ansible_inventory(inventory: Inventory) -> None:
    listing = inventory.as_ansible_json()
    assert listing["all"] == {"children": ["ungrouped", "gpu", "berlin"]}
    assert listing["gpu"] == {"hosts": ["gpu01", "gpu02", "gpu03", "p1"], "children": ["big", "aig", "zig"]}
    assert listing["ungrouped"] == {"hosts": ["lone"]}
    meta = listing["_meta"]
    assert isinstance(meta, dict)
    assert set(meta["hostvars"]) == set(inventory.hosts)


@pytest.mark.parametrize(
    ("pattern", "hosts"),
    [
        ("gpu", "gpu01 gpu02 gpu03 p1"),
        ("gpu01,n3", "gpu01 n3"),
        ("gpu01:n3", "gpu01 n3"),
        ("gpu:&berlin", "gpu01"),
        ("all:!gpu01", "gpu02 gpu03 lone n3 p1"),
        ("!gpu", "lone n3"),
        ("gpu0*", "gpu01 gpu02 gpu03"),
        ("~gpu0[12]$", "gpu01 gpu02"),
        ("gpu[0:2]", "gpu01 gpu02 gpu03"),
        ("gpu[-1]", "p1"),
        ("gpu[1:]", "gpu02 gpu03 p1"),
        ("gpu[0:1]:&berlin", "gpu01"),
        ("lone:gpu[0]", "gpu01 lone"),
        ("ungrouped", "lone"),
    ],
)
def test_workspace_patterns_name_what_ansible_says(inventory: Inventory, pattern: str, hosts: str) -> None:
    assert inventory.match(pattern) == tuple(hosts.split())


@pytest.mark.parametrize("pattern", ["berln", "gpu-*", "~^x", "gpu:&paris", "all:!node3", "", "~("])
def test_workspace_a_pattern_that_names_nothing_is_an_error(inventory: Inventory, pattern: str) -> None:
    with pytest.raises(WorkspaceError):
        inventory.match(pattern)


def test_workspace_equal_answers_share_one_tuple(inventory: Inventory) -> None:
    assert inventory.match("gpu") is inventory.match("gpu")
    assert inventory.match("all") is inventory.match("*")


def test_workspace_a_folder_is_one_inventory(tmp_path: Path) -> None:
    folder = tmp_path / "inventories" / "lab"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "10.yaml").write_text("gpu: {hosts: {a: {v: 1}}}")
    (folder / "20.yaml").write_text("gpu: {hosts: {b: , a: {v: 2}}}")
    (folder / "README.md").write_text("not an inventory")
    (folder / "group_vars" / "gpu.yml").write_text("g: 1")
    lab = load_inventory(tmp_path)
    assert dict(lab.variables("a")) == {"v": 2, "g": 1}
    assert tuple(lab.hosts) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "inventories/x.yaml: this inventory is empty"),
        ("- a\n", "1:1: an inventory is a mapping of groups, this is a list"),
        ("plugin: amazon.aws.aws_ec2\n", "configuration of an Ansible inventory plugin"),
        ("all: {hosts: [a]}\n", "1:14: 'hosts' of group 'all' must be a mapping"),
        ("all: {hosts: {1: {}}}\n", "a host's name must be text"),
        ("all: {hosts: {a: 3}}\n", "host 'a' must be a mapping of variables, this is 3"),
        ('all: {hosts: {"a\\e": {}}}\n', "the host name 'a\\x1b' cannot be used"),
        ("all: {hosts: {a/b: {}}}\n", "the host name 'a/b' cannot be used"),
        ("g: {children: {h: {children: {g: }}}}\n", "group 'h' cannot be below 'g': it is above it"),
        ("all: {children: {g: }}\n", "this inventory has no hosts"),
    ],
)
def test_workspace_a_wrong_inventory_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "inventories").mkdir()
    (tmp_path / "inventories" / "x.yaml").write_text(text)
    with pytest.raises(WorkspaceError) as raised:
        load_inventory(tmp_path)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("hosts.ini", "[gpu]\na\n", "only the YAML form of an inventory is read, this is a file that ends in .ini"),
        ("hosts", "# mine\n\n[gpu]\na\n", "write it in YAML: `ansible-inventory -i FILE --list --yaml > hosts.yaml` does it"),
        ("hosts", "[gpu:children]\nbig\n", "this is the INI form"),
        ("hosts", "gpu-a ansible_host=10.0.0.1 v=2\n", "this is the INI form"),
        ("hosts", "gpu-a\n\n[gpu]\ngpu-a\n", "this is the INI form"),
        ("hosts", "gpu[01:05] ansible_user=x\n", "this is the INI form"),
        ("hosts", 'a:2222 ansible_password="x y"\n', "this is the INI form"),
        ("hosts", "a\nb\n", "this is text; begin with `all:`; or, if it is another form of inventory, write it in YAML"),
        ("hosts", "#!/bin/sh\necho {}\n", "this is a program"),
        (
            "hosts.py",
            "#!/usr/bin/python3\nprint(1)\n",
            "this is a program, which is run only where you name it with -i and it may be executed; write it in YAML",
        ),
        ("hosts", "\x7fELF\0\1", "this is a program"),
        ("l.json", '{"_meta": {"hostvars": {"a": {}}}, "g": {"hosts": ["a"]}}', "the JSON that a program prints as its inventory"),
        ("l.json", '{"g": ["a", "b"]}', "print it in YAML: `ansible-inventory -i FILE --list --yaml > hosts.yaml`"),
        (
            "l.json",
            '{"g": {"hosts": ["a"]}}',
            "this is a list; write each name with a colon behind it; or, if a program printed this, write it",
        ),
        ("hosts.toml", "[all.hosts]\n", "this is a file that ends in .toml"),
        ("hosts.yaml", "$ANSIBLE_VAULT;1.1;AES256\n3131\n", "hosts.yaml:1:1: this file is encrypted with ansible-vault"),
        ("hosts.yaml", "g: {children: {ungrouped: {hosts: {a: }}}}\n", "'ungrouped' stands directly below 'all'"),
        ("hosts.yaml", "ungrouped: {children: {g: {hosts: {a: }}}}\n", "'ungrouped' stands directly below 'all'"),
        ("hosts.yaml", "all: {hosts: {g: }, children: {g: {hosts: {a: }}}}\n", "1:15: host 'g' is in no group and has the name of one"),
        ("hosts.yaml", "g: {hosts: {a: {v: =}}}\n", "a bare '=' has a meaning of its own in YAML 1.1"),
    ],
)
def test_workspace_what_is_not_read_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(WorkspaceError) as raised:
        load_inventory(tmp_path, inventory=[Path(name)])
    assert told in str(raised.value)


@pytest.mark.parametrize("text", ["cat list.json\n", 'echo \'{"g": ["a"]}\'\n', "\0\1\2"])
def test_workspace_a_program_needs_no_first_line_that_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_text(text)
    (tmp_path / "list").chmod(0o755)
    with pytest.raises(WorkspaceError, match="this is a program, which is run only where"):
        load_inventory(tmp_path, inventory=[Path("list")])


def test_workspace_a_file_that_is_executable_like_all_of_a_mount_is_read(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text("# of mine\nall:\n  hosts:\n    a:\n")
    (tmp_path / "hosts.yaml").chmod(0o777)
    assert list(load_inventory(tmp_path, inventory=[Path("hosts.yaml")]).hosts) == ["a"]


@pytest.mark.parametrize("listed", ["a,b", "localhost,"])
def test_workspace_a_list_of_hosts_is_told_as_one(tmp_path: Path, listed: str) -> None:
    with pytest.raises(WorkspaceError, match=r"is a list of hosts, as Ansible's -i takes it, and no file; write a file with `all: "):
        load_inventory(tmp_path, inventory=[Path(listed)])


def test_workspace_keys_that_ansible_skips_are_warned_about(tmp_path: Path) -> None:
    (tmp_path / "inventories").mkdir()
    (tmp_path / "inventories" / "x.yaml").write_text("all: {host: {b: }, hosts: {a: }}\n")
    (warning,) = load_inventory(tmp_path).warnings
    assert warning.sentence().endswith("key 'host' of group 'all' is skipped, as Ansible does; did you mean 'hosts'?")
