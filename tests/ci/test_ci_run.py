"""What `.ci/run` runs beside what always runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _asked(cache: Path) -> str:
    program = [sys.executable, ROOT / "tests" / "real" / "provision.py", "--extra-there"]
    return subprocess.run(program, env={**os.environ, "GPUREC_CACHE": str(cache)}, capture_output=True, text=True, check=True).stdout


def test_a_cluster_of_an_earlier_version_that_is_still_in_the_cache_is_not_asked_anything(tmp_path: Path) -> None:
    stale = tmp_path / "kubernetes-1.0.0"
    stale.mkdir()
    (stale / "kube-apiserver").touch(mode=0o755)
    (stale / "stages.yaml").touch()
    assert _asked(tmp_path).split() == []
    pinned = next(
        line.split()[2].strip('"')
        for line in (ROOT / "tests/real/kubernetes_programs.py").read_text().splitlines()
        if line.startswith("KUBERNETES =")
    )
    (tmp_path / f"kubernetes-{pinned}").symlink_to(stale)
    assert _asked(tmp_path).split() == [f"tests/real/extra/test_real_kubernetes_{name}.py" for name in ("server", "workloads")]
