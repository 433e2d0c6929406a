"""The container image, built by the real Docker Engine without a network over this machine's own Python, and used as its how-to says."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydantic_core
import pytest
from acting import ROOT, action_source
from building import lock_of
from cli_lab import Lab, served
from dockerd import Dockerd
from review_tools import review_tools

import reconciler
from reconciler.sim import builtin_fleet

BASE, IMAGE = "local/python:1", "gpurec"
OWNER = 4321
LARGEST = 60_000_000
"""Bytes of the layers that are ours."""
SECRET = "the-key-of-an-engine"
LEFT_OUT = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "dist-packages", "__pycache__")


def libraries(programs: list[Path]) -> set[Path]:
    """The shared libraries that programs and libraries of this machine are linked to, the loader among them."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return {Path(word) for line in said.splitlines() if not line.endswith(":") for word in line.split() if word.startswith("/")}


def python_tree(pip: Path) -> bytes:
    """This machine's Python under /usr/local as a tar, with a shell, the libraries that they need, and pip out of its wheel."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program, standard = Path(os.path.realpath(sys.executable)), Path(sysconfig.get_paths()["stdlib"])
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:

        def put(path: str, content: bytes = b"", mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            entry = tarfile.TarInfo(path)
            entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(content)
            tar.addfile(entry, io.BytesIO(content))

        linked = [program, *standard.glob("lib-dynload/*.so"), *Path(pydantic_core.__file__).parent.glob("*.so")]
        ours = Path("usr/local/lib")
        shared = {
            one: ours / one.name if sys.base_prefix != "/usr" and one.is_relative_to(sys.base_prefix) else one.relative_to("/")
            for one in sorted(libraries(linked))
        }
        for folder in sorted({above for to in (ours / version, Path("usr/local/bin/x"), *shared.values()) for above in to.parents[:-1]}):
            put(str(folder), mode=0o755, kind=tarfile.DIRTYPE)  # those that are not named are root's alone
        for name, mode in {"bin": 0o755, "etc": 0o755, "tmp": 0o1777}.items():
            put(name, mode=mode, kind=tarfile.DIRTYPE)
        put("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "id", "ls", "cat"):
            put(f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox")
        tar.add(program, f"usr/local/bin/{version}")
        put("usr/local/bin/python3", kind=tarfile.SYMTYPE, link=version)

        def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            name = Path(entry.name).name
            return None if name in LEFT_OUT or name.startswith("config-") else entry

        tar.add(standard, f"usr/local/lib/{version}", filter=kept)
        with zipfile.ZipFile(pip) as wheel:
            for name in wheel.namelist():
                put(f"usr/local/lib/{version}/{name}", wheel.read(name))
        for library, to in shared.items():
            tar.add(library.resolve(), str(to))
    return made.getvalue()


@dataclass(frozen=True)
class Docker:
    """The command `docker`, of one daemon. A failure is told with what was printed."""

    daemon: Dockerd

    def __call__(self, *words: str | Path, at: Path | None = None, status: int = 0) -> str:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.daemon.home), "DOCKER_HOST": f"unix://{self.daemon.socket}"}
        command = ["docker", *(str(word) for word in words)]
        done = subprocess.run(
            command,
            cwd=at,
            env={**environ, "DOCKER_BUILDKIT": "0"},
            stdout=-1,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == status, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def gpurec(self, workspace: Path, *words: str, status: int = 0) -> str:
        """As the how-to runs it: as the one whose files they are, and nothing but the workspace can be written."""
        owner = f"{workspace.stat().st_uid}:{workspace.stat().st_gid}"
        return self(
            "run",
            "--rm",
            "--read-only",
            "--network",
            "host",
            "--user",
            owner,
            "-v",
            f"{workspace}:/workspace",
            IMAGE,
            *words,
            status=status,
        )


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon that has the image."""
    wheels = review_tools().wheels
    if not wheels.exists():
        pytest.fail(f"{wheels} is missing; run `python tests/real/provision.py --review` first", pytrace=False)
    daemon = Dockerd(cards=False)
    try:
        (pip,) = wheels.glob("pip-*.whl")
        daemon.import_image(BASE, python_tree(pip), "ENV PATH=/usr/local/bin:/bin LD_LIBRARY_PATH=/usr/local/lib")
        source = checkout(tmp_path_factory.mktemp("checkout") / "gpurec", wheels)
        docker = Docker(daemon)
        without_an_index = ("--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=wheels", "--network", "none")
        docker("build", "-t", IMAGE, "--build-arg", f"BASE={BASE}", *without_an_index, ".", at=source)
        yield docker
    finally:
        print(daemon.process.tail())
        daemon.stop()


def checkout(to: Path, wheels: Path) -> Path:
    """What lies in a clone that somebody works in: with wheels, and with what must never come into an image."""
    action_source(to)
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, to)
    shutil.copytree(lock_of("users").parent, to / "requirements")
    shutil.copytree(wheels, to / "wheels")
    for name in (".env", "state/lab.db", ".git/config", "reconciler/__pycache__/left.pyc"):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text(SECRET)
    return to


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A simulated fleet on this machine, and a workspace whose files are somebody's, and not root's."""
    (tmp_path / "workspace").mkdir()
    with served(builtin_fleet("demo").with_time_scale(0), tmp_path / "workspace") as lab:
        for one in (lab.root, *lab.root.rglob("*")):
            os.chown(one, OWNER, OWNER)
        yield lab


def own_layers(docker: Docker) -> list[bytes]:
    """The layers of the image that its base has not, each as a tar."""
    saved = docker.daemon.home / "image.tar"
    docker("save", "-o", saved, IMAGE)
    below = json.loads(docker("inspect", BASE))[0]["RootFS"]["Layers"]
    with tarfile.open(saved) as image:

        def read(name: str) -> bytes:
            file = image.extractfile(name)
            assert file is not None
            return file.read()

        names = json.loads(read("manifest.json"))[0]["Layers"]
        assert len(names) > len(below) == 1
        found = [read(name) for name in names[len(below) :]]
    saved.unlink()
    return found


@pytest.mark.timeout(900)
def test_the_image_says_its_version_and_runs_as_nobody_in_particular(docker: Docker) -> None:
    assert docker("run", "--rm", IMAGE, "--version").strip().endswith(reconciler.__version__)
    assert docker("run", "--rm", "--entrypoint", "id", IMAGE, "-u").strip() == "10001"
    assert json.loads(docker("inspect", IMAGE))[0]["Config"]["User"] == "10001:10001"


@pytest.mark.timeout(900)
def test_a_mounted_workspace_is_planned_and_applied_and_what_is_written_is_its_owners(docker: Docker, lab: Lab) -> None:
    assert "Valid. Fleet demo:" in docker.gpurec(lab.root, "validate")
    docker.gpurec(lab.root, "plan", "--out", "demo.plan")
    assert (lab.root / "demo.plan").stat().st_uid == OWNER
    docker.gpurec(lab.root, "apply", "demo.plan")
    assert (lab.root / "state" / "demo.db").stat().st_uid == OWNER
    assert "No changes." in docker.gpurec(lab.root, "plan")
    assert f"uid {OWNER}" in docker.gpurec(lab.root, "history")
    lab.want("version: 1\nmodels: {m: {vrm: 1GiB}}\n")
    assert "desired/demo.yaml:2:" in docker.gpurec(lab.root, "validate", status=1)


@pytest.mark.timeout(900)
def test_our_layers_are_small_and_hold_nothing_but_the_program(docker: Docker) -> None:
    layers = own_layers(docker)
    files: dict[str, int] = {}
    for layer in layers:
        assert SECRET.encode() not in layer
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            files.update({one.name: one.size for one in tar})
    size = sum(len(layer) for layer in layers)
    print(f"layers of ours: {len(layers)} with {len(files)} files, {size / 1e6:.1f} MB")
    assert size < LARGEST
    outside = [name for name in files if not re.match(r"(opt(/gpurec(/.*)?)?|workspace)/?$", name)]
    assert outside == []
    installed = {re.split(r"[-/]", name.partition("site-packages/")[2])[0] for name in files}
    assert {"reconciler", "gpurec"} <= installed
    assert installed.isdisjoint({"pip", "setuptools", "hatchling", "wheel"})
