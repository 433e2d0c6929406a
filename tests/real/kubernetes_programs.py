"""The programs of a cluster without kubelets, in the cache of the real suite. Standard library only."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from building import made_whole, run, step

KUBERNETES = "1.36.3"
KWOK = "0.8.0"
KUBERNETES_MODULE = Path(__file__).resolve().parent / "tools" / "kubernetes"
"""A module that requires Kubernetes and says for its staging modules what its own go.mod says by folders, and etcd 3.6.8."""


def provide_kubernetes(folder: Path) -> None:
    """Clients judge a server by the version that it says, which only the linker can tell it. What is there already is kept."""
    made = {name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")}
    missing = [name for name in ("etcd", *made, "kwok", "stages.yaml") if not (folder / name).exists()]
    if not missing:
        return
    major, minor, _ = KUBERNETES.split(".")
    said = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items())
    one_at_a_time = {"GOFLAGS": "-p=1"}
    with step(f"a cluster of Kubernetes {KUBERNETES} (compiling takes many minutes)"), made_whole(folder) as work:
        if folder.exists():
            shutil.copytree(folder, work, dirs_exist_ok=True)
        for program, package in {"etcd": "./etcd", **made}.items():
            if program in missing:
                run("go", "build", "-C", KUBERNETES_MODULE, "-mod=mod", "-ldflags", flags, "-o", work / program, package, env=one_at_a_time)
        if "kwok" in missing:
            run("go", "install", f"sigs.k8s.io/kwok/cmd/kwok@v{KWOK}", env={**one_at_a_time, "GOBIN": str(work)})
        if "stages.yaml" in missing:
            (work / "stages.yaml").write_text(kwok_stages())


def kwok_stages() -> str:
    """What kwok does of nodes and pods, out of its own module: without it, it does nothing, and ends."""
    told = subprocess.run(["go", "mod", "download", "-json", f"sigs.k8s.io/kwok@v{KWOK}"], capture_output=True, check=True)
    stages = Path(json.loads(told.stdout)["Dir"]) / "kustomize" / "stage"
    names = ("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease")
    pods = (f"pod/fast/pod-{word}" for word in ("ready", "complete", "delete"))
    return "\n---\n".join((stages / f"{name}.yaml").read_text() for name in (*names, *pods))
