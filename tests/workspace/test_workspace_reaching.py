"""How Ansible reaches hosts: honoured, or a warning says that it is not, and ssh is not tried where it cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.fleet import GIB, ProbeSpec, WorkspaceError
from reconciler.probes.sources import way_of
from reconciler.workspace import Workspace, load_workspace
from reconciler.workspace.reaching import ssh_arguments

VAULT = "$ANSIBLE_VAULT;1.1;AES256\n00112233\n"


@pytest.fixture
def host(load: Callable[..., Workspace]) -> Callable[[str], tuple[ProbeSpec, list[str], str]]:
    """The probe, the warnings and the way of a host with these variables."""

    def read(variables: str) -> tuple[ProbeSpec, list[str], str]:
        lines = "\n".join(f"      {line}" for line in variables.strip("\n").split("\n"))
        found = load(f'all:\n  hosts:\n    far.example:\n      engines: {{ollama: {{url: "http://far:1"}}}}\n{lines}\n')
        node = found.fleet.nodes["far.example"]
        return node.probe, [problem.sentence() for problem in found.warnings], way_of(node)

    return read


def test_a_key_a_jump_host_and_the_old_names_are_honoured(host) -> None:
    probe, warnings, way = host(
        """
ansible_ssh_user: ops
ansible_user: newer
ansible_ssh_port: 2222
ansible_ssh_private_key_file: ~/.ssh/lab
ansible_ssh_common_args: '-o ProxyJump=jump@bastion:2200 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'
"""
    )
    assert (probe.user, probe.port, probe.key_file, way, warnings) == ("ops", 2222, "~/.ssh/lab", "ssh", [])
    assert probe.ssh_options == ("-J", "jump@bastion:2200", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")


@pytest.mark.parametrize(("connection", "start"), [("paramiko", "ansible_paramiko_"), ("ansible.netcommon.libssh", "ansible_libssh_")])
def test_what_only_the_plugin_of_a_connection_reads_counts_before_the_rest(host, connection: str, start: str) -> None:
    own = f"""
{start}user: ops
{start}port: '2222'
{start}private_key_file: ~/.ssh/lab
{start}host_key_checking: false
{start}proxy_command: ssh -W %h:%p jump@bastion
{start}password: secret
"""
    probe, warnings, way = host(f"ansible_connection: {connection}\nansible_ssh_user: other\nansible_port: 1{own}")
    assert (probe.user, probe.port, probe.key_file, way) == ("ops", 2222, "~/.ssh/lab", "ssh")
    assert probe.ssh_options == ("-o", "StrictHostKeyChecking=no", "-J", "jump@bastion")
    assert [f"'{start}password' is not honoured" in one for one in warnings] == [True]
    of_nobody, silent, _ = host(f"ansible_connection: ssh\nansible_user: other{own}")
    assert (of_nobody.user, of_nobody.port, of_nobody.ssh_options, silent) == ("other", None, (), [])


def test_the_address_of_a_plugin_is_one_where_that_is_the_connection(load: Callable[..., Workspace]) -> None:
    own = "ansible_paramiko_host: 192.0.2.4, ansible_host: 192.0.2.5, engines: {ollama: {url: 'http://a:1'}}"
    assert load(f"all: {{hosts: {{a: {{ansible_connection: paramiko_ssh, {own}}}}}}}").fleet.nodes["a"].address == "192.0.2.4"
    assert load(f"all: {{hosts: {{a: {{{own}}}}}}}").fleet.nodes["a"].address == "192.0.2.5"


def test_a_proxy_of_a_plugin_that_is_another_program_is_not_tried_without_it(host) -> None:
    _, warnings, way = host("ansible_connection: paramiko\nansible_user: ops\nansible_paramiko_proxy_command: nc %h %p; touch x")
    assert way == "declared"
    assert ["'-o ProxyCommand=nc %h %p; touch x' of 'ansible_paramiko_proxy_command' is not honoured" in one for one in warnings] == [True]


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ("ansible_become_user: root\nansible_become_method: sudo\nansible_sudo_user: root", 0),
        ("ansible_become_user: postgres", 1),
        ("ansible_become_method: community.general.machinectl", 1),
        ("ansible_become_user: '{{ who }}'", 1),
    ],
)
def test_what_says_how_to_become_root_as_gpurec_does_is_no_warning(host, said: str, warned: int) -> None:
    assert len(host(f"ansible_user: ops\nansible_become: true\n{said}")[1]) == warned


@pytest.mark.parametrize(("said", "off"), [("false", True), ("'no'", True), ("true", False)])
@pytest.mark.parametrize("name", ["ansible_host_key_checking", "ansible_ssh_host_key_checking"])
def test_checks_of_host_keys_are_left_out_where_they_are_switched_off(host, name: str, said: str, off: bool) -> None:
    first, last = "-o StrictHostKeyChecking=accept-new", "-o IdentitiesOnly=yes"
    probe, warnings, _ = host(f"ansible_user: ops\n{name}: {said}\nansible_ssh_args: '{first}'\nansible_ssh_common_args: '{last}'")
    between = ("-o", "StrictHostKeyChecking=no") if off else ()
    assert (probe.ssh_options, warnings) == ((*first.split(), *between, *last.split()), [])


def test_the_old_name_of_an_address_is_one(load: Callable[..., Workspace]) -> None:
    hosts = "all: {hosts: {a: {ansible_ssh_host: 192.0.2.4, ansible_host: 192.0.2.5, engines: {ollama: {url: 'http://a:1'}}}}}"
    assert load(hosts).fleet.nodes["a"].address == "192.0.2.4"


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ('-o ProxyCommand="ssh -W %h:%p -q jump@bastion"', ["-J", "jump@bastion"]),
        ("-o 'ProxyCommand ssh -q -W %h:%p -p 2200 -l jump bastion'", ["-J", "jump@bastion:2200"]),
        ("-oProxyJump=a,b -C -4", ["-J", "a,b", "-C", "-4"]),
        ("-J [2001:db8::1]:22", ["-J", "[2001:db8::1]:22"]),
        ("-i /keys/lab -p 22 -o ControlMaster=auto -o ControlPersist=60s -o ConnectTimeout=9", ["-i", "/keys/lab", "-p", "22"]),
        (
            "-o HostKeyAlgorithms=+ssh-rsa",
            ["-o", "HostKeyAlgorithms=+ssh-rsa"],
        ),
        ("", []),
    ],
)
def test_arguments_of_ssh_that_only_say_the_way_are_taken(said: str, taken: list[str]) -> None:
    found = ssh_arguments(said)
    assert (found.taken, found.refused, found.proxied) == (taken, [], False)


@pytest.mark.parametrize(
    ("said", "proxied"),
    [
        ("-o ProxyCommand='sh -c \"touch /tmp/x\"'", True),
        ("-o ProxyCommand='ssh -W %h:%p bastion; touch x'", True),
        ("-o ProxyCommand='ssh -o ProxyCommand=x -W %h:%p bastion'", True),
        ("-o ProxyCommand='/tmp/evil/ssh-not -W %h:%p bastion'", True),
        ("-J -oProxyCommand=x", True),
        ("-J 'a;touch x'", True),
        ("-F /tmp/config", True),
        ("-o LocalCommand='touch x' -o PermitLocalCommand=yes", False),
        ("-o KnownHostsCommand=/tmp/x", False),
        ("-o PKCS11Provider=/tmp/x.so", False),
        ("-o UserKnownHostsFile=/home/me/.bashrc", False),
        ("-o UserKnownHostsFile=~/.ssh/../.bashrc", False),
        ("-o ForwardAgent=yes", False),
        ("-A", False),
        ("-o 'unclosed", False),
        ("stranger", False),
        ("-o", False),
    ],
)
def test_what_runs_a_program_or_is_not_known_is_never_given_to_ssh(said: str, proxied: bool) -> None:
    found = ssh_arguments(said)
    assert (found.taken, bool(found.refused), found.proxied) == ([], True, proxied)


@pytest.mark.parametrize("said", ["-F /tmp/config", "-E log", "-D 1080", "-w any"])
def test_a_flag_that_is_not_taken_is_told_with_its_value_as_one(said: str) -> None:
    assert ssh_arguments(f"-4 {said}").refused == [said]


def test_checks_of_a_jump_hosts_own_key_are_told_and_the_jump_is_taken() -> None:
    found = ssh_arguments("-o ProxyCommand='ssh -o StrictHostKeyChecking=no -W %h:%p bastion'")
    assert (found.taken, found.refused) == (["-J", "bastion"], ["-o StrictHostKeyChecking=no (of the jump host)"])


def test_a_way_through_a_program_is_not_tried_without_it_and_is_told(host) -> None:
    probe, warnings, way = host("ansible_user: ops\nansible_ssh_common_args: '-o ProxyCommand=\"cloudflared access ssh --hostname %h\"'")
    assert (way, probe.ssh_options) == ("declared", ())
    assert any("is not honoured" in one and "~/.ssh/config" in one for one in warnings)


@pytest.mark.parametrize("connection", ["winrm", "psrp", "community.docker.docker", "ansible.netcommon.network_cli"])
def test_ssh_is_not_tried_where_another_way_is_written(host, connection: str) -> None:
    _, warnings, way = host(f"ansible_user: Administrator\nansible_connection: {connection}")
    assert way == "declared"
    assert [f"reached by {connection}, so ssh is not tried" in one for one in warnings] == [True]
    assert host(f"ansible_user: a\nansible_connection: {connection}\nprobe: {{via: ssh}}")[2] == "ssh"


@pytest.mark.parametrize(("shell", "way"), [("powershell", "declared"), ("cmd", "declared"), ("sh", "ssh"), ("fish", "ssh")])
def test_ssh_is_not_tried_where_it_ends_in_a_shell_of_windows(host, shell: str, way: str) -> None:
    _, warnings, found = host(f"ansible_user: Administrator\nansible_shell_type: {shell}")
    assert found == way
    assert [f"the shell of a host is {shell}, so ssh is not tried" in one for one in warnings] == [True] * (way == "declared")
    assert host(f"ansible_user: a\nansible_shell_type: {shell}\nprobe: {{via: ssh}}")[2] == "ssh"


def test_a_local_connection_is_this_machine_whatever_the_address(host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.probes.sources.nvml_is_here", lambda: True)
    for word in ("local", "ansible.builtin.local"):
        probe, warnings, way = host(f"ansible_user: ops\nansible_connection: {word}")
        assert (probe.connection, warnings, way) == ("local", [], "nvml")
    assert host("ansible_user: ops\nansible_connection: smart")[2] == "ssh"


def test_a_check_of_host_keys_that_cannot_be_read_is_told(host) -> None:
    _, warnings, way = host("ansible_user: ops\nansible_host_key_checking: maybe")
    assert way == "ssh"
    assert ["'ansible_host_key_checking' is not something that gpurec can read" in one for one in warnings] == [True]


OF_SSH = ["ansible_user", "ansible_ssh_user", "ansible_port", "ansible_host", "ansible_ssh_host", "ansible_ssh_common_args"]


@pytest.mark.parametrize("name", OF_SSH)
def test_ssh_is_not_tried_where_what_it_needs_is_encrypted(host, name: str) -> None:
    other = "" if "user" in name else "ansible_user: ops\n"
    _, warnings, way = host(f"{other}{name}: !vault |\n  {VAULT.splitlines()[0]}\n  0011")
    assert way == "declared"
    assert any(f"'{name}' is encrypted, so it is not honoured here" in one for one in warnings)


def test_gpurecs_own_key_needs_nothing_of_what_is_encrypted(host) -> None:
    _, warnings, way = host(f"probe: {{user: ops}}\nansible_user: !vault |\n  {VAULT.splitlines()[0]}\n  0011")
    assert (way, warnings) == ("ssh", [])


def test_an_unsafe_text_is_the_text(host) -> None:
    assert host("ansible_user: !unsafe 'a{{b}}'")[0].user == "a{{b}}"


def test_passwords_and_other_programs_are_told_only_where_ssh_is_used(host) -> None:
    _, warnings, _ = host("ansible_user: ops\nansible_password: secret\nansible_ssh_executable: /opt/ssh")
    assert ["'ansible_password' is not honoured" in warnings[0], "'ansible_ssh_executable' is not honoured" in warnings[1]] == [True, True]
    assert not any("secret" in one for one in warnings)
    assert host("ansible_password: secret\nprobe: {via: declared}")[1] == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("ansible_private_key", "ansible_ssh_private_key_file"),
        ("ansible_private_key_passphrase", "ssh-add"),
        ("ansible_ssh_private_key_passphrase", "ssh-add"),
        ("ansible_ssh_pkcs11_provider", "PKCS11Provider"),
        ("ansible_become_exe", "sudo -n"),
        ("ansible_become_flags", "sudo -n"),
        ("ansible_sudo_pass", "sudo -n"),
        ("ansible_sudo_user", "sudo -n"),
    ],
)
def test_what_else_changes_how_a_host_is_entered_is_told_with_what_to_do(host, name: str, advice: str) -> None:
    probe, warnings, way = host(f"ansible_user: ops\nansible_become: true\n{name}: of-mine")
    assert (way, probe.ssh_options, len(warnings)) == ("ssh", (), 1)
    assert f"{name!r} is not honoured by gpurec" in warnings[0]
    assert advice in warnings[0]
    assert "of-mine" not in warnings[0]


def test_an_encrypted_file_of_variables_is_a_warning_and_an_error_only_where_a_key_needs_it(
    tmp_path: Path, load: Callable[..., Workspace]
) -> None:
    folder = tmp_path / "inventories" / "x" / "group_vars" / "all"
    folder.mkdir(parents=True)
    (folder / "vault.yml").write_text(VAULT)
    (folder / "vars.yml").write_text("engines: {vllm: {url: 'http://127.0.0.1:1'}}\n")
    (tmp_path / "inventories" / "x" / "hosts.yml").write_text("all: {hosts: {a: {gpus: [{index: 0, vram: 8GiB}]}}}\n")
    (tmp_path / "desired").mkdir()
    (tmp_path / "desired" / "x.yaml").write_text("version: 1\nmodels: {}\n")
    found = load_workspace(tmp_path)
    assert found.fleet.nodes["a"].gpus[0].vram == 8 * GIB
    assert [(str(one.where), one.what.endswith("its variables are unknown")) for one in found.warnings] == [
        ("inventories/x/group_vars/all/vault.yml:1:1", True)
    ]
    (folder / "vars.yml").write_text("engines: {vllm: {url: 'http://{{ vault_host }}:1'}}\n")
    with pytest.raises(WorkspaceError, match=r"what inventories/x/group_vars/all/vault.yml may have of it is encrypted"):
        load_workspace(tmp_path)


def test_an_inventory_or_a_desired_state_that_is_encrypted_is_an_error(problems: Callable[..., list[str]]) -> None:
    assert "encrypted with ansible-vault" in problems(desired=VAULT)[0]
    assert "encrypted with ansible-vault" in problems(inventory=VAULT)[0]
