"""No page names a command or an option that is not there, and what the tutorial and the how-tos show is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import httpx
import pytest
from pages import PAGES, ROOT, blocks, named, words

from reconciler.cli.commands.init import _host_name
from reconciler.cli.main import cli
from reconciler.sim import SimFleet, SimSpec, running
from reconciler.sim.read import read_sim_text

READ = [page for page in PAGES if "decisions" not in page.parts]


def problem(command: str) -> str | None:
    """Why gpurec would not take these words; None where it would. What stands for something else (CAPITALS, …) is not judged."""
    try:
        asked = [word for word in words(command)[1:] if word not in ("…", "...")]
    except ValueError:
        return "not words of a shell"
    at: click.Command = cli
    context = click.Context(cli)
    while isinstance(at, click.Group):
        options = at.make_parser(context)
        options.allow_interspersed_args = False
        try:
            _, asked, _ = options.parse_args(asked)
        except click.UsageError as error:
            return error.format_message()
        if not asked or re.fullmatch(r"[A-Z…|]+", asked[0]):
            return None
        name, *asked = asked
        names = name.split("|")
        found = [at.get_command(context, one) for one in names]
        if None in found:
            return f"no command {name!r}"
        at = found[0]  # type: ignore[assignment]
        context = click.Context(at, parent=context, info_name=names[0])
    try:
        at.make_parser(context).parse_args([word for word in asked if not word.startswith("[")])
    except click.UsageError as error:
        return None if "requires an argument" in error.format_message() else error.format_message()
    return None


@pytest.mark.parametrize("page", READ, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_a_page_names_is_there(page: Path) -> None:
    wrong = {command: why for command in named(page) if (why := problem(command)) is not None}
    assert wrong == {}


def test_a_command_and_an_option_that_are_not_there_are_told() -> None:
    assert problem("gpurec plan --out x") is None
    assert problem("gpurec plan --nope") is not None
    assert problem("gpurec plam") == "no command 'plam'"


BOX = """
time_scale: 0
models:
  - {name: "llama3.1:8b", vram: 5GiB}
  - {name: phi-3-mini, vram: 2GiB}
nodes:
  gpu-a:
    ram: 64GiB
    gpus: [{name: RTX 4090, vram: 24GiB}]
    engines:
      ollama: {kind: ollama, port: 11434, installed: ["llama3.1:8b"]}
      llamacpp: {kind: llamacpp, mode: router, port: 8080, installed: [phi-3-mini]}
      vllm: {kind: vllm, port: 8000, installed: [phi-3-mini], gpu_memory_utilization: 0.25}
"""
RESIDENT = {"docs/how-to/ollama-box.md", "docs/how-to/drift-at-night.md"}
"""Pages whose reader has a model loaded already."""
APPLIED = {"docs/how-to/drift-at-night.md"}
"""Pages whose reader has come here from the page on a box of Ollama."""
FOLLOWED = sorted(page.relative_to(ROOT).as_posix() for page in [ROOT / "docs" / "tutorial.md", *ROOT.glob("docs/how-to/*.md")])


class Reader:
    """Follows pages in an empty folder: writes their files, types their commands, and holds what they show against what is printed."""

    def __init__(self, root: Path, spec: SimSpec, fleet: SimFleet) -> None:
        self.root = self.at = root
        self.called = "gpu-a"
        named = [(asked.port, f"{node.name}/{asked.name}") for node in spec.nodes for asked in node.engines]
        self.ports = {str(port): fleet.engines[engine].url.rsplit(":", 1)[1] for port, engine in named}

    def here(self, text: str) -> str:
        """A text of a page with the addresses of the machines of this test."""
        text = text.replace("//gpu-a:", "//127.0.0.1:").replace("--host gpu-a", "--host 127.0.0.1 --port 11434")
        listening = rf"(//127\.0\.0\.1:|--port |port: )({'|'.join(self.ports)})\b"
        return re.sub(listening, lambda found: found[1] + self.ports[found[2]], text)

    def follow(self, page: str) -> None:
        for block in blocks(ROOT / page):
            if block.file is not None:
                path, text = block.file
                file = self.at / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(self.here(text))
            for command, shown in block.commands():
                self.type(command, shown)

    def type(self, command: str, shown: list[str]) -> None:
        """Runs a command; its status is 0, or what the page says behind it (`# exit status 2`)."""
        said = re.search(r"# exit status (\d+)", command)
        if "--host gpu-a" in command:
            self.called = _host_name()  # init names this machine so
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUREC_")}
        done = subprocess.run(
            ["bash", "-c", f"{self.here(command)}\nstatus=$?; pwd > {self.root}/.at; exit $status"],
            cwd=self.at,
            env={**kept, "PATH": path, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == (int(said[1]) if said else 0), f"{command}\n{done.stdout}{done.stderr}"
        self.at = Path((self.root / ".at").read_text().strip())
        lines = iter([" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines()])
        for line in shown:
            wanted = " ".join(self.here(line).replace("@gpu-a/", f"@{self.called}/").split())
            assert any(one.startswith(wanted) for one in lines), f"{command} does not show {line!r}:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", FOLLOWED)
def test_what_the_tutorial_and_the_how_tos_show_is_what_happens(page: str, tmp_path: Path) -> None:
    own = [block.file[1] for block in blocks(ROOT / page) if block.file is not None and block.file[0] == "box.yaml"]
    spec = read_sim_text(own[0] if own else BOX, "box.yaml")
    with running(replace(spec.on_free_ports(), time_scale=0.0)) as fleet:
        reader = Reader(tmp_path, spec, fleet)
        if page in RESIDENT:
            httpx.post(
                f"{fleet.engines['gpu-a/ollama'].url}/api/generate", json={"model": "llama3.1:8b", "keep_alive": -1}
            ).raise_for_status()
        if page in APPLIED:
            reader.follow("docs/how-to/ollama-box.md")
        reader.follow(page)


def test_a_page_that_shows_what_does_not_happen_is_told(tmp_path: Path) -> None:
    spec = read_sim_text(BOX, "box.yaml")
    with running(spec.on_free_ports()) as fleet:
        reader = Reader(tmp_path, spec, fleet)
        with pytest.raises(AssertionError, match="does not show"):
            reader.type("gpurec --version", ["terraform"])
        with pytest.raises(AssertionError):
            reader.type("gpurec plan", [])
