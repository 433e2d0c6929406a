"""The one shell script that tells a node's cards, and its output taken apart. Only reads; POSIX sh, sent on stdin so nothing is quoted.

Each part begins with a line `@@gpurec NAME`, and counts once the next one begins, so what must be known comes first. Every tool is asked
with a time limit where the node has `timeout`.
"""

from __future__ import annotations

from collections.abc import Mapping

MARK = "@@gpurec "
END = "end"
SMI_FIELDS = (
    "index,uuid,name,pci.bus_id,driver_version,memory.total,memory.used,utilization.gpu,temperature.gpu,power.draw,enforced.power.limit,"
    "mig.mode.current,ecc.errors.uncorrected.volatile.total"
)
SMI_FREE = "memory.free"
SMI_NEWER = "compute_cap,memory.reserved,clocks_event_reasons.active"
"""Fields that older drivers do not know; one unknown field fails the whole query, so it is asked again with fewer."""
SMI_LEAST = "index,uuid,name,driver_version,memory.total,memory.used"
ROCM_SHOWS = "--showmeminfo vram gtt --showuse --showtemp --showpower --showmaxpower --showproductname --showuniqueid --showdriverversion"

SCRIPT = f"""
PATH=$PATH:/usr/local/bin:/usr/sbin:/sbin:/usr/lib/wsl/lib:/opt/rocm/bin
export PATH LC_ALL=C
T=
command -v timeout >/dev/null 2>&1 && T='timeout 8'
s() {{ printf '\\n{MARK}%s\\n' "$1"; }}
has() {{ command -v "$1" >/dev/null 2>&1; }}
s os; uname -s
s clock; date +%s
if [ "$(uname -s)" = Darwin ]; then
  s sysctl; sysctl hw.memsize iogpu.wired_limit_mb debug.iogpu.wired_limit machdep.cpu.brand_string 2>/dev/null
  s profiler; system_profiler SPDisplaysDataType -json 2>/dev/null
  s ioreg; ioreg -r -c IOAccelerator -d 1 -f 2>/dev/null | grep -E 'PerformanceStatistics|In use system memory|Device Utilization'
else
  s meminfo; head -n 3 /proc/meminfo 2>/dev/null
  s board; tr -d '\\0' </proc/device-tree/model 2>/dev/null
  s pci
  for d in /sys/bus/pci/devices/*; do
    [ -r "$d/class" ] || continue
    read -r c <"$d/class"; read -r v <"$d/vendor"
    case $c in 0x03*) m=$(readlink "$d/driver" 2>/dev/null); echo "$v ${{d##*/}} ${{m##*/}}";; esac
  done
fi
if has nvidia-smi; then
  for f in {SMI_FIELDS},{SMI_NEWER},{SMI_FREE} {SMI_FIELDS},{SMI_NEWER} {SMI_FIELDS},compute_cap {SMI_FIELDS} {SMI_LEAST}; do
    s smi_csv
    $T nvidia-smi --query-gpu="$f" --format=csv 2>&1
    code=$?
    s smi_code; echo $code
    [ $code -ne 2 ] && [ $code -ne 1 ] && break
  done
fi
if has amd-smi; then
  s amd_metric; $T amd-smi metric --mem-usage --usage --power --temperature --json 2>/dev/null; code=$?
  s amd_code; echo $code
  s amd_list; $T amd-smi list --json 2>/dev/null
  s amd_static; $T amd-smi static --asic --vram --driver --json 2>/dev/null
elif has rocm-smi; then
  s rocm
  $T rocm-smi {ROCM_SHOWS} --json 2>/dev/null; code=$?
  s amd_code; echo $code
fi
s ps; $T ps -eo pid=,ppid=,comm= 2>/dev/null
s ss; $T ss -ltnpH 2>/dev/null
if has nvidia-smi; then
  s smi_xml; $T nvidia-smi -q -x 2>/dev/null
  s smi_list; $T nvidia-smi -L 2>/dev/null
  s cgroup
  for p in $($T nvidia-smi --query-compute-apps=pid --format=csv,noheader,nounits 2>/dev/null | tr -cd '0-9\\n'); do
    [ -r "/proc/$p/cgroup" ] && echo "$p $(tail -n 1 "/proc/$p/cgroup" 2>/dev/null)"
  done
  s xid; $T dmesg 2>/dev/null | grep -a 'NVRM: Xid' | tail -n 64; $T dmesg >/dev/null 2>&1 && echo readable
fi
if has amd-smi; then
  s amd_limit; $T amd-smi static --limit --json 2>/dev/null
  s amd_process; $T amd-smi process --json 2>/dev/null
fi
s end
"""


def sections(output: str) -> Mapping[str, str]:
    """The finished parts of the output by name, in order; of a part that was tried again the last one. What stands before the first mark (a
    banner of the login shell) is left out."""
    found: dict[str, str] = {}
    name: str | None = None
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith(MARK):
            if name is not None:
                found.pop(name, None)
                found[name] = "\n".join(lines).strip("\n")
            name, lines = line[len(MARK) :].strip(), []
        else:
            lines.append(line)
    if name == END:
        found[END] = ""
    return found
