"""What the sources of mounts are on their node besides what they say: volumes that are made over something of it, and links."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from reconciler.containers.shapes import VOLUMES, VolumeAnswer
from reconciler.containers.wire import Wire
from reconciler.hosts import Host, HostError

EndsOf = Callable[[Sequence[str]], Coroutine[Any, Any, Mapping[str, str]]]
"""Where paths of a node end when all links are followed; without a path of which nobody can tell it."""
_RESOLVING = 'for one in "$@"; do readlink -f -- "$one" || printf "%s\\n" "$one"; done'
_OF_FOLDERS = ("lowerdir", "upperdir", "workdir")
"""Options of an overlay that name folders."""


async def leads_of(wire: Wire, sources: frozenset[str], ends_of: EndsOf, within: float) -> Mapping[str, tuple[str, ...]]:
    """What `sources` (paths of the node, names of volumes) are besides what they say. A daemon that tells nobody of volumes leaves them as
    they are."""
    names = sorted(one for one in sources if not one.startswith("/"))
    over: dict[str, list[str]] = {one: [one] for one in sources if one.startswith("/")}
    if names:
        params = {"filters": json.dumps({"name": names})}
        answer = await wire.ask("GET", "/volumes", within=within, params=params, accept=(200, 403, 404))
        if answer.status == 200:
            over |= {one.Name: [*_made_over(one)] for one in answer.read(VOLUMES).Volumes or () if one.Name in sources}
    paths = sorted({path for some in over.values() for path in some})
    ends = await ends_of(paths) if paths else {}
    found = {source: {*some, *(ends[path] for path in some if path in ends)} - {source} for source, some in over.items()}
    return {source: tuple(sorted(some)) for source, some in sorted(found.items()) if some}


def _made_over(volume: VolumeAnswer) -> Iterator[str]:
    """The paths of the node that a volume of the driver `local` mounts: a folder by `o: bind`, a disk, the folders of an overlay."""
    options = volume.Options or {}
    if volume.Driver != "local":
        return
    if (device := options.get("device", "")).startswith("/"):
        yield device
    for word in options.get("o", "").split(","):
        name, _, folders = word.partition("=")
        if name in _OF_FOLDERS:
            yield from (folder for folder in folders.split(":") if folder.startswith("/"))


async def ends_here(paths: Sequence[str]) -> Mapping[str, str]:
    """Of paths of this machine."""
    return await asyncio.to_thread(lambda: {path: os.path.realpath(path) for path in paths})


async def ends_on(host: Host, paths: Sequence[str], within: float) -> Mapping[str, str]:
    """Of paths of a host; of one that runs no commands nobody can tell."""
    try:
        ran = await host.run(["sh", "-c", _RESOLVING, "sh", *paths], within=within)
    except HostError:
        return {}
    lines = ran.out.decode(errors="replace").splitlines()
    return dict(zip(paths, lines, strict=True)) if len(lines) == len(paths) else {}


async def ends_unknown(paths: Sequence[str]) -> Mapping[str, str]:
    """Of a machine of which only its daemon is reached."""
    return {}
