"""Cards of this machine: AMD's by `amd-smi` or `rocm-smi`, Apple's by `system_profiler`, NVIDIA's beside them by NVML. No shell.

The same tools and the same reading as over ssh (`script`, `shell`); each runs within the node's deadline and the bounds of `bounded`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.engines.foreign_text import clean_text
from reconciler.fleet import NodeSpec
from reconciler.hosts import Clean, Ran, run_bounded
from reconciler.probes.here import nvml_is_here, program_here, tool_here
from reconciler.probes.nvml import Nvml
from reconciler.probes.protocol import ProbeError, Seen, probe_error
from reconciler.probes.script import ROCM_SHOWS
from reconciler.probes.shell import seen_of

SOURCE = "local"
_MEMINFO_BYTES = 4096

Commands = Mapping[str, Sequence[str]]
"""The arguments behind the program's name, by the part of the output that they give (`script` has the same names)."""
_AMD_SMI: Commands = {
    "amd_metric": ("metric", "--mem-usage", "--usage", "--power", "--temperature", "--json"),
    "amd_list": ("list", "--json"),
    "amd_static": ("static", "--asic", "--vram", "--driver", "--json"),
    "amd_limit": ("static", "--limit", "--json"),
    "amd_process": ("process", "--json"),
}
_ROCM_SMI: Commands = {"rocm": (*ROCM_SHOWS.split(), "--json")}
_PROFILER: Commands = {"profiler": ("SPDisplaysDataType", "-json")}
_SYSCTL: Commands = {"sysctl": ("hw.memsize", "iogpu.wired_limit_mb", "debug.iogpu.wired_limit", "machdep.cpu.brand_string")}
_IOREG: Commands = {"ioreg": ("-r", "-c", "IOAccelerator", "-d", "1", "-f")}


class Local:
    """Asks the tools of this machine; what they say goes through `clean`. `platform` is what `sys.platform` says."""

    name = SOURCE

    def __init__(self, platform: str = sys.platform, clean: Clean = bytes) -> None:
        self._platform = platform
        self._clean = clean

    async def look(self, node: NodeSpec, at: str) -> Seen:
        """Every card of this machine that its tool tells."""
        tool = tool_here(self._platform)
        if tool is None:
            raise probe_error("no_tool", node.name, "there is no amd-smi, rocm-smi or system_profiler on this machine")
        asked = dict(self._commands(tool))
        tools = asyncio.gather(*(self._run(argv, node) for argv in asked.values()))
        nvidia, runs = await asyncio.gather(self._nvidia(node, at), tools)
        parts = {part: ran.out.decode("utf-8", "replace") for part, ran in zip(asked, runs, strict=True) if ran is not None}
        told = nvidia.cards if isinstance(nvidia, Seen) and nvidia.cards is not None else ()
        seen = seen_of({**parts, **self._machine()}, node, SOURCE, at, {"nvidia": told})
        refused = [nvidia] if isinstance(nvidia, ProbeError) else []
        if len(seen.cards or ()) == len(told) and (runs[0] is None or runs[0].code != 0):
            refused.append(_refusal(node, Path(tool).name, runs[0]))
        if refused and not seen.cards:
            raise refused[-1]
        notes = nvidia.notes if isinstance(nvidia, Seen) else ()
        return replace(seen, notes=(*notes, *seen.notes), partly=refused[0] if refused else seen.partly)

    async def _nvidia(self, node: NodeSpec, at: str) -> Seen | ProbeError | None:
        """What NVML tells beside the tools of another vendor; None where it is not there."""
        if not nvml_is_here():
            return None
        try:
            return await Nvml(clean=self._clean).look(node, at)
        except ProbeError as error:
            return error

    def _commands(self, tool: str) -> Mapping[str, Sequence[str]]:
        """Argument lists by part, the one that decides first."""
        commands = {"amd-smi": _AMD_SMI, "rocm-smi": _ROCM_SMI, "system_profiler": _PROFILER}[Path(tool).name]
        lists: dict[str, Sequence[str]] = {part: (tool, *arguments) for part, arguments in commands.items()}
        if self._platform == "darwin":
            for name, more in (("sysctl", _SYSCTL), ("ioreg", _IOREG)):
                found = program_here(name)
                if found is not None:
                    lists |= {part: (found, *arguments) for part, arguments in more.items()}
        return lists

    def _machine(self) -> Mapping[str, str]:
        if self._platform == "darwin":
            return {"os": "Darwin"}
        try:
            with Path("/proc/meminfo").open() as file:
                return {"meminfo": file.read(_MEMINFO_BYTES)}
        except OSError:
            return {}

    async def _run(self, argv: Sequence[str], node: NodeSpec) -> Ran | None:
        """How a program ended; None where it cannot be started."""
        try:
            ran = await run_bounded(argv, within=node.probe.timeout, environ={**os.environ, "LC_ALL": "C"})
        except OSError:
            return None
        return ran.cleaned(self._clean)


def _refusal(node: NodeSpec, tool: str, ran: Ran | None) -> ProbeError:
    """Why the tool gave no card."""
    if ran is None:
        return probe_error("smi_failed", node.name, f"{tool} cannot be started")
    if ran.cut == "timeout":
        what = f"{tool} did not answer within {node.probe.timeout:.3g} s"
        return probe_error("timeout", node.name, what, "the driver hangs: see dmesg, and reboot if it says so")
    if ran.cut is not None:
        return probe_error("too_large", node.name, f"{tool} answered more than 8 MiB")
    why = clean_text((ran.err or ran.out).decode("utf-8", "replace")) or f"it ended with {ran.code}"
    return probe_error("smi_failed", node.name, f"{tool}: {why}", f"run {tool} to see what it says")
