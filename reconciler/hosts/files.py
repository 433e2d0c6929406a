"""Files of a host as shell scripts: the same on this machine and over ssh. Content travels as base64, so no byte of it means anything."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Sequence

from reconciler.hosts.bounded import Ran
from reconciler.hosts.protocol import MOST_FILE, HostError, HostFile, host_error

_END = "GPUREC_END"
_DECODE = "d=-d; printf '' | base64 -d >/dev/null 2>&1 || d=-D\n"
"""base64 of older macOS decodes with another option."""
_TOLD = re.compile(rb"@@gpurec ([0-7]{1,4}) (\S{1,64}) (\S{1,64})\n")
_CODES = {
    64: ("no_folder", "its folder is not there", "make the folder first"),
    65: ("not_a_file", "it is there and is no file", "write another path; what is no file is never replaced"),
    66: ("unsafe_link", "it is a link in a folder that everybody may write to", "remove it, or write the path that it leads to"),
    67: ("no_permission", "it cannot be read or written by this user", "log in as its owner, or write `ansible_become: true`"),
    68: ("no_such_owner", "it cannot be given to that owner", "an owner must be known there, and only root gives files away"),
    69: ("too_large", f"it has more than {MOST_FILE // 2**20} MiB", None),
}
_READ = """
export LC_ALL=C
ls -d -- "$f" 2>&1 >/dev/null | grep -q 'Permission denied' && exit 67
[ -e "$f" ] || [ -L "$f" ] || {{ echo missing; exit 0; }}
[ -f "$f" ] || exit 65
[ -r "$f" ] || exit 67
[ "$(wc -c <"$f")" -le {most} ] || exit 69
s=$(stat -L -c '%a %U %G' -- "$f" 2>/dev/null || stat -L -f '%Lp %Su %Sg' "$f") || exit 67
echo "@@gpurec $s"
base64 <"$f"
"""
_WRITE = """
umask 077
if [ -L "$f" ]; then
  [ -z "$(find "$(dirname "$f")" -prune -perm -0002)" ] || exit 66
  f=$(readlink -f -- "$f") || exit 64
fi
[ ! -e "$f" ] || [ -f "$f" ] || exit 65
[ -d "$(dirname "$f")" ] || exit 64
t=$(mktemp "$(dirname "$f")/.gpurec.XXXXXX" 2>/dev/null) || exit 67
trap 'rm -f "$t"' EXIT
trap 'exit 130' HUP INT TERM
base64 $d >"$t" || exit 70
[ -z "$o" ] || chown -- "$o" "$t" 2>/dev/null || exit 68
chmod "$m" "$t" || exit 67
sync "$t" 2>/dev/null
mv -f -- "$t" "$f" || exit 67
"""


def command_script(command: Sequence[str], given: bytes) -> str:
    """A script that runs a command with `given` on its stdin and ends as it ends."""
    if not given:
        return f"{shlex.join(command)} </dev/null\n"
    return f"{_DECODE}base64 $d <<'{_END}' | {shlex.join(command)}\n{_encoded(given)}\n{_END}\n"


def read_script(path: str) -> str:
    return f"f={shlex.quote(path)}\n" + _READ.format(most=MOST_FILE)


def write_script(path: str, content: bytes, mode: int, owner: str | None) -> str:
    names = f"f={shlex.quote(path)}; m={mode:o}; o={shlex.quote(owner or '')}\n"
    return f"{names}{_DECODE}put() {{{_WRITE}}}\nput <<'{_END}'\n{_encoded(content)}\n{_END}\n"


def remove_script(path: str) -> str:
    return f'f={shlex.quote(path)}\n[ -e "$f" ] || [ -L "$f" ] || exit 0\n[ -f "$f" ] || exit 65\nrm -f -- "$f" || exit 67\n'


def file_of(ran: Ran, host: str, path: str) -> HostFile | None:
    """What came of a read. Raises HostError."""
    refuse_failed(ran, host, path)
    if ran.out.strip() == b"missing":
        return None
    told = _TOLD.match(ran.out)
    if told is None:
        raise host_error("unreadable", host, f"{path}: what was read is no answer", "see whether sh, stat and base64 are there")
    mode, owner, group = told.groups()
    try:
        content = base64.b64decode(ran.out[told.end() :], validate=False)
    except binascii.Error:
        raise host_error("unreadable", host, f"{path}: what was read is cut off") from None
    return HostFile(content, int(mode, 8), owner.decode("utf-8", "replace"), group.decode("utf-8", "replace"))


def refuse_failed(ran: Ran, host: str, path: str) -> None:
    """Raises HostError where a script about a file did not end well."""
    if ran.code == 0:
        return
    raise _refusal(ran, host, path)


def _refusal(ran: Ran, host: str, path: str) -> HostError:
    if ran.code in _CODES:
        code, what, hint = _CODES[ran.code]
        return host_error(code, host, f"{path}: {what}", hint)
    said = " ".join(ran.err.decode("utf-8", "replace").split())[:200]
    if "sudo:" in said:
        return host_error("no_sudo", host, f"{path}: {said}", "allow this user `sudo -n` there, or log in as the owner of the file")
    return host_error("failed", host, f"{path}: {said or f'it ended with {ran.code}'}")


def _encoded(content: bytes) -> str:
    return base64.encodebytes(content).decode("ascii").rstrip("\n")
