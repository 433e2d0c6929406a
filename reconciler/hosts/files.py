"""Files of a host as shell scripts: the same on this machine and over ssh. Content travels as base64, so no byte of it means anything."""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Mapping, Sequence

from reconciler.engines.foreign_text import clean_text
from reconciler.hosts.bounded import Ran
from reconciler.hosts.protocol import MOST_FILE, PATH, FileSeen, HostError, HostFile, host_error

_END = "GPUREC_END"
_DECODE = "d=-d; printf '' | base64 -d >/dev/null 2>&1 || d=-D\n"
"""base64 of older macOS decodes with another option."""
_TOLD = re.compile(rb"@@gpurec ([0-7]{1,4}) (\S{1,64}) (\S{1,64})\n")
_CODES = {
    64: ("no_folder", "its folder is not there", "make the folder first"),
    65: ("not_a_file", "it is there and is no file", "write another path; what is no file is never replaced"),
    66: ("unsafe_link", "it is a link in a folder that another account may write to", "remove it, or write the path that it leads to"),
    67: ("no_permission", "it cannot be read or written by this user", "log in as its owner, or write `ansible_become: true`"),
    68: (
        "no_such_owner",
        "it cannot be given to that owner",
        "an owner must be known there, and only root gives files away: `ansible_become: true` for the host",
    ),
    69: ("too_large", f"it has more than {MOST_FILE // 2**20} MiB", None),
}
_MANY = 500
"""Files that one script looks at."""
_SEEN = re.compile(rb"\+ ([0-7]{1,4}) (\S{1,64}) ([0-9]{1,10}) ([0-9]{1,19}) ([0-9a-f]{64}|-)")
_LOOK = """
export LC_ALL=C
if command -v sha256sum >/dev/null 2>&1; then sum() {{ sha256sum; }}
elif command -v shasum >/dev/null 2>&1; then sum() {{ shasum -a 256; }}
else sum() {{ openssl dgst -sha256 -r; }}
fi
look() {{
  if ! [ -e "$1" ] && ! [ -L "$1" ]; then
    if ls -d -- "$1" 2>&1 >/dev/null | grep -q 'Permission denied'; then echo 67; else echo 0; fi
  elif ! [ -f "$1" ]; then echo 65
  elif ! [ -r "$1" ]; then echo 67
  elif ! s=$(stat -L -c '%a %U %u %s' -- "$1" 2>/dev/null || stat -L -f '%Lp %Su %u %z' "$1"); then echo 67
  elif [ "${{s##* }}" -gt {most} ]; then echo "+ $s -"
  else h=$(sum <"$1") && echo "+ $s ${{h%% *}}" || echo 67
  fi
}}
"""
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
  [ -z "$(find "$(dirname "$f")" -prune \\( -perm -0002 -o ! -user 0 ! -user "$(id -u)" \\))" ] || exit 66
  f=$(readlink -f -- "$f") || exit 64
fi
[ ! -e "$f" ] || [ -f "$f" ] || exit 65
[ -d "$(dirname "$f")" ] || exit 64
w=$(mktemp -d "$(dirname "$f")/.gpurec.XXXXXX" 2>/dev/null) || exit 67
trap 'rm -rf -- "$w"' EXIT
trap 'exit 130' HUP INT TERM
t=$w/$(basename -- "$f")
base64 $d >"$t" || exit 70
check >"$w/.gpurec.said" 2>&1 </dev/null || { head -c 4000 "$w/.gpurec.said" >&2; exit 72; }
[ -z "$o" ] || [ "$o" = "$(id -un)" ] || chown -- "$o" "$t" 2>/dev/null || exit 68
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


def write_script(path: str, content: bytes, mode: int, owner: str | None, validate: Sequence[str] = ()) -> str:
    """A script that writes a file and then looks at it, so that this is no question of its own."""
    names = f"f={shlex.quote(path)}; m={mode:o}; o={shlex.quote(owner or '')}\n"
    check = " ".join(map(_with_path, validate)) or ":"
    put = f"{names}check() {{\n{check}\n}}\n{_DECODE}put() {{{_WRITE}}}\nput <<'{_END}'\n{_encoded(content)}\n{_END}\n"
    return put + _look_script((path,))


def _with_path(argument: str) -> str:
    """An argument as a word of the shell, with the draft's path where it says `{path}`."""
    return '"$t"'.join(shlex.quote(part) if part else "" for part in argument.split(PATH)) or "''"


def look_scripts(paths: Sequence[str]) -> Sequence[tuple[Sequence[str], str]]:
    """Scripts that look at files, each with those it looks at."""
    parts = [paths[start : start + _MANY] for start in range(0, len(paths), _MANY)]
    return [(part, _look_script(part)) for part in parts]


def _look_script(paths: Sequence[str]) -> str:
    return _LOOK.format(most=MOST_FILE) + "\n".join(f"look {shlex.quote(path)}" for path in paths)


def seen_files(ran: Ran, host: str, paths: Sequence[str]) -> Mapping[str, FileSeen | HostError | None]:
    """What came of a look. Raises HostError where it is no answer about all of `paths`."""
    lines = ran.out.split(b"\n")[:-1]
    if ran.code != 0 or len(lines) != len(paths):
        raise _refusal(ran, host, paths[0]) if ran.code else _no_answer(host, paths[0])
    return {path: _seen_file(line, host, path) for path, line in zip(paths, lines, strict=True)}


def _seen_file(line: bytes, host: str, path: str) -> FileSeen | HostError | None:
    if line == b"0":
        return None
    if line.isdigit() and int(line) in _CODES:
        code, what, hint = _CODES[int(line)]
        return host_error(code, host, f"{path}: {what}", hint)
    told = _SEEN.fullmatch(line)
    if told is None:
        return _no_answer(host, path)
    mode, owner, number, size, digest = (one.decode("utf-8", "replace") for one in told.groups())
    return FileSeen(None if digest == "-" else digest, int(mode, 8), number if owner == "UNKNOWN" else owner, int(size))


def remove_script(path: str) -> str:
    return f'f={shlex.quote(path)}\n[ -e "$f" ] || [ -L "$f" ] || exit 0\n[ -f "$f" ] || exit 65\nrm -f -- "$f" || exit 67\n'


def file_of(ran: Ran, host: str, path: str) -> HostFile | None:
    """What came of a read. Raises HostError."""
    refuse_failed(ran, host, path)
    if ran.out.strip() == b"missing":
        return None
    told = _TOLD.match(ran.out)
    if told is None:
        raise _no_answer(host, path)
    mode, owner, group = told.groups()
    try:
        content = base64.b64decode(ran.out[told.end() :], validate=False)
    except binascii.Error:
        raise host_error("unreadable", host, f"{path}: what was read is cut off") from None
    return HostFile(content, int(mode, 8), owner.decode("utf-8", "replace"), group.decode("utf-8", "replace"))


def _no_answer(host: str, path: str) -> HostError:
    return host_error("unreadable", host, f"{path}: what was read is no answer", "see whether sh, stat, sha256sum and base64 are there")


def refuse_failed(ran: Ran, host: str, path: str) -> None:
    """Raises HostError where a script about a file did not end well."""
    if ran.code == 0:
        return
    raise _refusal(ran, host, path)


def _refusal(ran: Ran, host: str, path: str) -> HostError:
    if ran.code in _CODES:
        code, what, hint = _CODES[ran.code]
        return host_error(code, host, f"{path}: {what}", hint)
    said = clean_text(ran.err.decode("utf-8", "replace"))
    if ran.code == 72:
        return host_error("invalid", host, f"{path}: its `validate` refuses the new content: {said or 'it says nothing'}")
    if "sudo:" in said:
        return host_error("no_sudo", host, f"{path}: {said}", "allow this user `sudo -n` there, or log in as the owner of the file")
    return host_error("failed", host, f"{path}: {said or f'it ended with {ran.code}'}")


def _encoded(content: bytes) -> str:
    return base64.encodebytes(content).decode("ascii").rstrip("\n")
