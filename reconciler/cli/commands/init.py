"""`gpurec init`: a new workspace that plans as it stands."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.global_options import global_options
from reconciler.cli.settings import settings_of
from reconciler.files import write_file

INVENTORY = """\
# The machines with GPUs. The form is Ansible's YAML inventory, so playbooks can share it.
all:
  children:
    gpu:
      hosts:
        local:
          address: 127.0.0.1
          engines:
            ollama: {url: "http://127.0.0.1:11434"}    # add `gpus: [0]` here when several engines share the machine
          # The cards, where they cannot be probed. Without a size nothing new is placed on them.
          gpus:
            - {index: 0, vram: 8GiB}
"""
DESIRED = """\
# What is to be resident where. `gpurec plan` shows what would change, `gpurec apply` changes it.
version: 1
models:
  llama3.2:1b:
    engine: ollama
    on: gpu
    vram: 2GiB    # the need; leave it out once it was measured
"""
GITIGNORE = """\
# The state holds what was applied, for one team or machine; it is no source file.
/state/
"""
FILES = {"inventories/default.yaml": INVENTORY, "desired/default.yaml": DESIRED, ".gitignore": GITIGNORE}


@click.command("init")
@click.argument("new", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=".")
@global_options
@click.pass_context
def command(context: click.Context, new: Path) -> None:
    """Make a new workspace in DIR that plans as it stands; never overwrites a file."""
    settings = settings_of(context)
    for name, text in write_files(settings.path(new), FILES):
        click.echo(f"{'kept   ' if text is None else 'created'} {new / name}")
    settings.say("Edit inventories/default.yaml and desired/default.yaml, then: gpurec plan")


def write_files(root: Path, files: dict[str, str]) -> list[tuple[str, str | None]]:
    """Writes what is not there yet; (name, text) of each file, text None where a file was kept."""
    done: list[tuple[str, str | None]] = []
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = path.exists()
        if not kept:
            write_file(path, text, overwrite=False)
        done.append((name, None if kept else text))
    return done
