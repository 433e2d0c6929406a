"""Every variable by which plugins of ansible-core reach a host, or become root there, is honoured, or told, or changes nothing."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from provision import located

from reconciler.workspace.reaching import HONOURED, IGNORED

CONNECTIONS = ("ssh", "paramiko_ssh")
TUNING = frozenset(
    """
    ansible_control_path ansible_control_path_dir ansible_paramiko_timeout ansible_paramiko_use_rsa_sha2_algorithms ansible_pipelining
    ansible_ssh_pipelining ansible_ssh_retries ansible_ssh_timeout ansible_ssh_use_tty ansible_ssh_verbosity
    """.split()  # noqa: SIM905 (a list of it is a line each)
)
"""How long, how often and in which session Ansible asks: gpurec has its own."""
OF_COPIES = frozenset(
    """
    ansible_scp_executable ansible_scp_extra_args ansible_sftp_batch_mode ansible_sftp_executable ansible_sftp_extra_args
    ansible_ssh_transfer_method
    """.split()  # noqa: SIM905
)
"""How Ansible copies files: gpurec writes them through ssh itself."""
OF_PASSWORDS = frozenset(("ansible_ssh_password_mechanism", "ansible_sshpass_prompt"))
"""They say how a password is given, and the password is told as not honoured."""
OF_SUDO = frozenset(("ansible_sudo_chdir",))
"""Where sudo runs; every path that gpurec gives it is absolute."""


def variables(kind: str, *names: str) -> set[str]:
    """The variables that options of these plugins are read from, by the plugins' own documentation."""
    real = located()
    if not real.ansible.exists():
        pytest.fail(f"{real.ansible} is missing; run `make real`, or `python tests/real/provision.py` first", pytrace=False)
    command = [str(real.ansible), "-m", "ansible", "doc", "--type", kind, "--json", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    found = json.loads(done.stdout)
    assert set(found) == set(names)
    options = [option for plugin in found.values() for option in plugin["doc"]["options"].values()]
    every = {one["name"] for option in options for one in option.get("vars", [])}
    return {name for name in every if name.startswith("ansible_")}


def test_no_variable_of_a_connection_by_ssh_is_passed_over_in_silence() -> None:
    unknown = variables("connection", *CONNECTIONS) - {*HONOURED, *IGNORED}
    assert unknown == TUNING | OF_COPIES | OF_PASSWORDS


def test_no_variable_of_sudo_is_passed_over_in_silence() -> None:
    assert variables("become", "sudo") - {*HONOURED, *IGNORED} == OF_SUDO
