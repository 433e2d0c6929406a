"""What the sources of mounts are on their node besides what they say: volumes that are made over something of it, and links."""

from __future__ import annotations

import asyncio
import json
import os
import posixpath
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from reconciler.containers.shapes import VOLUMES, VolumeAnswer
from reconciler.containers.wire import Wire
from reconciler.fleet import Leads
from reconciler.hosts import Host, HostError

EndsOf = Callable[[Sequence[str]], Coroutine[Any, Any, Mapping[str, str]]]
"""Where paths of a node end when all links are followed; without a path of which nobody can tell it. Raises CannotTell."""
_RESOLVING = (
    'printf "\\0"; for one in "$@"; do '
    'printf "%s\\0" "$(readlink -m -- "$one" 2>/dev/null || readlink -f -- "$one" 2>/dev/null || printf %s "$one")"; '
    "done"
)
"""Apart by NUL, which alone is in no path, and after what a login may say before; `-m` (not in each readlink) also follows a link above
what is not there yet."""
_OF_FOLDERS = ("lowerdir", "upperdir", "workdir")
"""Options of an overlay that name folders."""


class CannotTell(Exception):
    """A node that tells where paths end did not do so this time."""


async def leads_of(wire: Wire, sources: frozenset[str], ends_of: EndsOf, within: float) -> Leads:
    """What `sources` (paths of the node, names of volumes) are besides what they say; None where it is not told: a daemon that is asked by
    way of a proxy may keep its volumes to itself, and an account may run no commands."""
    names = sorted(one for one in sources if not one.startswith("/"))
    over: dict[str, list[str]] = {one: [one] for one in sources if one.startswith("/")}
    untold: set[str] = set()
    if names:
        params = {"filters": json.dumps({"name": names})}
        answer = await wire.ask("GET", "/volumes", within=within, params=params, accept=(200, 403, 404))
        if answer.status == 200:
            over |= {one.Name: [*_made_over(one)] for one in answer.read(VOLUMES).Volumes or () if one.Name in sources}
        else:
            untold.update(names)
    paths = sorted({path for some in over.values() for path in some})
    try:
        ends = await ends_of(paths) if paths else {}
    except CannotTell:
        ends, untold = {}, untold | {source for source, some in over.items() if some}
    found = {
        source: {posixpath.normpath(one) for one in (*some, *(ends[path] for path in some if path in ends))} - {source}
        for source, some in over.items()
    }
    told = {source: tuple(sorted(some)) for source, some in found.items() if some and source not in untold}
    return dict(sorted({**told, **dict.fromkeys(untold)}.items()))


def _made_over(volume: VolumeAnswer) -> Iterator[str]:
    """The paths of the node that a volume of the driver `local` mounts: a folder by `o: bind`, a disk, the folders of an overlay. A daemon
    works in `/`, from where it reads those that are relative."""
    options = volume.Options or {}
    if volume.Driver != "local":
        return
    words = options.get("o", "").split(",")
    device = options.get("device", "")
    if device.startswith("/") or (device and not {"bind", "rbind"}.isdisjoint(words)):
        yield _absolute(device)
    for word in words:
        name, _, folders = word.partition("=")
        if name in _OF_FOLDERS:
            yield from (_absolute(folder) for folder in folders.split(":") if folder)


def _absolute(path: str) -> str:
    return "/" + path.lstrip("/")


async def ends_here(paths: Sequence[str]) -> Mapping[str, str]:
    """Of paths of this machine."""
    return await asyncio.to_thread(lambda: {path: os.path.realpath(path) for path in paths})


async def ends_on(host: Host, paths: Sequence[str], within: float) -> Mapping[str, str]:
    """Of paths of a host that runs commands."""
    try:
        ran = await host.run(["sh", "-c", _RESOLVING, "sh", *paths], within=within)
    except HostError as error:
        raise CannotTell from error
    ends = ran.out.decode(errors="replace").split("\0")[1:-1]
    if len(ends) != len(paths):
        raise CannotTell
    return dict(zip(paths, ends, strict=True))


async def ends_unknown(paths: Sequence[str]) -> Mapping[str, str]:
    """Of a machine of which only its daemon is reached."""
    return {}
