"""How Ansible reaches a host, as far as gpurec goes the same way: what it cannot honour is said, and never guessed.

The names, and which of two counts, are those of ansible-core's connection plugins (plugins/connection/ssh.py: `ansible_ssh_…` before
`ansible_…`; what is named for one plugin, such as `ansible_paramiko_…`, counts before both where that is the connection). Options of ssh
that run programs are not taken: a file of the inventory may be a stranger's, and reading it must run nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

USER = ("ansible_ssh_user", "ansible_user")
PORT = ("ansible_ssh_port", "ansible_port")
ADDRESS = ("ansible_ssh_host", "ansible_host")
KEY_FILE = ("ansible_ssh_private_key_file", "ansible_private_key_file")
CONNECTION = ("ansible_connection",)
SHELL = ("ansible_shell_type",)
ARGUMENTS = ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args")
HOST_KEY_CHECKING = ("ansible_ssh_host_key_checking", "ansible_host_key_checking")
UNCHECKED = ("-o", "StrictHostKeyChecking=no")
"""What Ansible gives ssh where the keys of hosts are not to be checked, after `ansible_ssh_args` and before the other arguments."""
BECOME = ("ansible_become",)
_OWN_NAMES = {"paramiko": "ansible_paramiko_", "paramiko_ssh": "ansible_paramiko_", "libssh": "ansible_libssh_"}
"""How the variables begin that only one plugin of those by ssh reads (ansible-core's paramiko_ssh.py, ansible.netcommon's libssh.py)."""
_OF_ANY = (USER, PORT, ADDRESS, KEY_FILE, HOST_KEY_CHECKING)
_OWN_STARTS = sorted({*_OWN_NAMES.values()})
PROXY_COMMANDS = tuple(f"{start}proxy_command" for start in _OWN_STARTS)
_RENAMED = {start + names[-1].removeprefix("ansible_"): names[-1] for start in _OWN_STARTS for names in _OF_ANY}
HONOURED = (*USER, *PORT, *ADDRESS, *KEY_FILE, *CONNECTION, *SHELL, *ARGUMENTS, *HOST_KEY_CHECKING, *BECOME, *PROXY_COMMANDS, *_RENAMED)
_BY_SUDO = "files are written by `sudo -n` as root, so allow that without a password"
_BY_KEY = "log in by a key (ssh-copy-id): gpurec gives no password"
_BY_FILE = "write the key into a file, and its path as ansible_ssh_private_key_file"
_BY_AGENT = "load the key into ssh-agent (ssh-add): gpurec gives no passphrase"
OF_SUDO = ("ansible_become_", "ansible_sudo_")
"""How the names of variables begin that say how another user is become."""
AS_GPUREC_DOES: Mapping[str, frozenset[str]] = {
    "ansible_become_method": frozenset(("sudo", "ansible.builtin.sudo")),
    **{f"{start}user": frozenset(("root", "0", "#0")) for start in OF_SUDO},
}
"""Values with which a variable that is not honoured asks for what gpurec does anyway."""
IGNORED: Mapping[str, str] = {
    "ansible_password": _BY_KEY,
    "ansible_ssh_pass": _BY_KEY,
    "ansible_ssh_password": _BY_KEY,
    "ansible_become_method": _BY_SUDO,
    **{f"{start}{end}": _BY_SUDO for start in OF_SUDO for end in ("exe", "flags", "pass", "password", "user")},
    "ansible_ssh_executable": "put the ssh that is meant first on PATH",
    "ansible_private_key": _BY_FILE,
    "ansible_ssh_private_key": _BY_FILE,
    "ansible_private_key_passphrase": _BY_AGENT,
    "ansible_ssh_private_key_passphrase": _BY_AGENT,
    "ansible_ssh_pkcs11_provider": "write PKCS11Provider for this host in ~/.ssh/config",
    **{f"{start}{end}": _BY_KEY for start in _OWN_STARTS for end in ("pass", "password")},
    "ansible_libssh_config_file": "write it for this host in ~/.ssh/config",
}
"""Variables that change how ssh is used and that gpurec does not honour, each with what to do instead."""
_OWN_KEYS = (
    dict.fromkeys(ADDRESS, "write `address: HOST` for gpurec")
    | dict.fromkeys(USER, "write `probe: {user: NAME}` for gpurec")
    | dict.fromkeys(PORT, "write `probe: {port: NUMBER}` for gpurec")
    | dict.fromkeys((*KEY_FILE, *ARGUMENTS, *CONNECTION, *SHELL), "write it for this host in ~/.ssh/config")
    | dict.fromkeys((*BECOME, *HOST_KEY_CHECKING), "write true or false")
    | dict.fromkeys(PROXY_COMMANDS, "write it for this host in ~/.ssh/config")
)
OWN_KEYS: Mapping[str, str] = _OWN_KEYS | {name: _OWN_KEYS[same] for name, same in _RENAMED.items()}
"""What to write instead of a variable that gpurec cannot read."""
OF_WINDOWS = frozenset(("powershell", "cmd"))
"""Shells that ssh ends in and that read nothing which gpurec writes for sh."""
_BY_SSH = frozenset(("ssh", "smart", "paramiko", "paramiko_ssh", "libssh"))
_TAKEN = frozenset(
    """
    addressfamily bindaddress bindinterface casignaturealgorithms ciphers compression gssapiauthentication hostkeyalgorithms hostkeyalias
    hostbasedauthentication identitiesonly identityfile kexalgorithms macs passwordauthentication port preferredauthentications
    pubkeyacceptedalgorithms pubkeyacceptedkeytypes pubkeyauthentication rekeylimit stricthostkeychecking updatehostkeys user
    verifyhostkeydns
    """.split()  # noqa: SIM905 (a list of it is a line each)
)
_OURS = frozenset(
    """
    batchmode connecttimeout connectionattempts controlmaster controlpath controlpersist loglevel numberofpasswordprompts requesttty
    serveralivecountmax serveraliveinterval tcpkeepalive
    """.split()  # noqa: SIM905
)
"""Options that gpurec sets for every host itself, so that nothing changes where they are not taken."""
_KNOWN_HOSTS = frozenset(("userknownhostsfile", "globalknownhostsfile"))
_OPTION = re.compile(r"([A-Za-z0-9]{1,40})(?:=| )(.{1,500})")
_LOOSE = _KNOWN_HOSTS | {"stricthostkeychecking"}
_KNOWN_HOSTS_FILE = re.compile(r"/dev/null|~/\.ssh/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
_JUMP = re.compile(r"[A-Za-z0-9_.@:%\[\]][A-Za-z0-9_.@:%\[\],-]{0,250}")
_WITH_VALUE = "BDEFIJLOQRSWbceilmopw"
_PLAIN = frozenset(("-4", "-6", "-C"))
_NOTHING = frozenset(("-q", "-T", "-n", "-x", "-a"))


def way_by_ssh(connection: str) -> bool:
    """Whether a connection of Ansible (`ssh`, `ansible.builtin.ssh`) is one that OpenSSH's client makes."""
    return plugin(connection) in _BY_SSH


def plugin(connection: str) -> str:
    """The short name of a connection plugin."""
    return connection.rpartition(".")[2]


def names_by(connection: str | None, names: Sequence[str]) -> Sequence[str]:
    """The variables that say one thing, such as `USER`, for a connection: the one that only its plugin reads counts before the others."""
    start = _OWN_NAMES.get(plugin(connection or ""))
    return names if start is None else (f"{start}{names[-1].removeprefix('ansible_')}", *names)


def is_read(name: str, connection: str | None) -> bool:
    """Whether a variable counts for a connection: what only another plugin reads does not."""
    return not name.startswith(tuple(_OWN_STARTS)) or name.startswith(_OWN_NAMES.get(plugin(connection or ""), "-"))


def proxy_argument(command: str) -> str:
    """A command by which a host is reached as an argument of ssh."""
    return shlex.join(("-o", f"ProxyCommand={command}"))


@dataclass(slots=True)
class SshArguments:
    """Arguments for ssh: `taken` as they are given to it, `refused` as they stood, `proxied`: among these is how it is reached at all."""

    taken: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    proxied: bool = False


def ssh_arguments(text: str) -> SshArguments:
    """What of Ansible's arguments for ssh is taken."""
    found = SshArguments()
    try:
        words = shlex.split(text)
    except ValueError:
        return SshArguments(refused=[text], proxied="proxy" in text.lower())
    for flag, value in _flags(words):
        if not _take(found, flag, value):
            found.refused.append(flag if value is None else f"{flag} {value}")
            found.proxied |= flag == "-J" or (flag == "-o" and "proxy" in (value or "").lower()) or flag == "-F"
    return found


def _flags(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """`-o X` and `-oX` as (`-o`, `X`), flags without a value as (flag, None)."""
    rest = iter(words)
    for word in rest:
        if len(word) >= 2 and word[0] == "-" and word[1] in _WITH_VALUE:
            yield word[:2], word[2:] or next(rest, None)
        else:
            yield word, None


def _take(found: SshArguments, flag: str, value: str | None) -> bool:
    if value is None:
        found.taken += [flag] if flag in _PLAIN else []
        return flag in _PLAIN or flag in _NOTHING
    if flag == "-J" and _JUMP.fullmatch(value):
        found.taken += ["-J", value]
        return True
    if flag in ("-p", "-l", "-i") and not value.startswith("-"):
        found.taken += [flag, value]
        return True
    return flag == "-o" and _take_option(found, value)


def _take_option(found: SshArguments, text: str) -> bool:
    match = _OPTION.fullmatch(text.strip())
    if match is None:
        return False
    name, value = match.group(1).lower(), match.group(2).strip().strip('"')
    if name in _OURS:
        return True
    if name == "proxyjump":
        return _take(found, "-J", value)
    if name == "proxycommand":
        return _take_jump(found, value)
    # ssh appends to a file of known hosts where it trusts a new one: so that may only be nothing, or lie where such files do
    fits = name in _TAKEN or (name in _KNOWN_HOSTS and _KNOWN_HOSTS_FILE.fullmatch(value) is not None)
    found.taken += ["-o", f"{match.group(1)}={value}"] if fits else []
    return fits


def _take_jump(found: SshArguments, command: str) -> bool:
    """Takes `ssh -W %h:%p -q [-p PORT] [-l USER] HOST`, the way in which jump hosts were written before ProxyJump; no other program. What
    it says of the keys of the jump host itself is refused: those are checked as strictly as every host's."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    if not words or PurePosixPath(words[0]).name != "ssh":
        return False
    host, user, port, through = "", "", "", False
    aside: list[str] = []
    for flag, value in _flags(words[1:]):
        if flag == "-W":
            through = value == "%h:%p"
        elif flag == "-l" and value is not None:
            user = f"{value}@"
        elif flag == "-p" and value is not None:
            port = f":{value}"
        elif flag == "-o" and value is not None and (option := _OPTION.fullmatch(value.strip())) is not None:
            name = option.group(1).lower()
            if name not in _OURS and name not in _LOOSE:
                return False
            aside += [f"-o {value} (of the jump host)"] if name in _LOOSE else []
        elif value is None and not flag.startswith("-") and not host:
            host = flag
        elif flag not in _NOTHING:
            return False
    jump = f"{user}{host}{port}"
    if not through or not host or not _JUMP.fullmatch(jump):
        return False
    found.taken += ["-J", jump]
    found.refused += aside
    return True
