"""What the site has beside the pages of this folder: a reference made from the code, and the list of decisions. A hook of mkdocs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    titles = [(page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# "), page) for page in pages]
    background = next(part["Background"] for part in config["nav"] if "Background" in part)
    background.append({"Decisions": [{title: f"decisions/{page.name}"} for title, page in titles]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def reference() -> dict[str, str]:
    """The pages of the reference, by name."""
    return {"commands": commands(), "exit-status": exit_status(), "reasons": reasons(), "metrics": metrics(), "plan": plan()}


def commands() -> str:
    from reconciler.cli.main import cli

    lines = ["# Commands", "", "Options that every command takes are left out: `gpurec --help` lists them.", ""]
    shared = {"directory", "fleet", "inventory", "desired", "state", "state_new", "quiet", "verbose", "no_color"}

    def tell(name: str, one: click.Command, context: click.Context) -> None:
        lines.extend([f"## `{name}`", "", re.sub(r"\s+", " ", (one.help or "").split("\f")[0]).strip(), ""])
        lines.extend(["```text", f"{name} {' '.join(one.collect_usage_pieces(context))}", "```", ""])
        own = [param for param in one.params if isinstance(param, click.Option) and not param.hidden and param.name not in shared]
        records = [record for param in own if (record := param.get_help_record(context)) is not None]
        if records:
            lines.extend(["| option | |", "|---|---|"])
            lines.extend(f"| `{option.replace('|', chr(92) + '|')}` | {_cell(what)} |" for option, what in records)
            lines.append("")
        if isinstance(one, click.Group):
            for part in one.list_commands(context):
                inner = one.get_command(context, part)
                assert inner is not None
                tell(f"{name} {part}", inner, click.Context(inner, info_name=part, parent=context))

    top = click.Context(cli, info_name="gpurec")
    for part in sorted(cli.list_commands(top)):
        found = cli.get_command(top, part)
        assert found is not None
        tell(f"gpurec {part}", found, click.Context(found, info_name=part, parent=top))
    return "\n".join(lines)


def exit_status() -> str:
    from reconciler.operations import exit_status as ours

    source = Path(ours.__file__).read_text(encoding="utf-8")
    said = re.findall(r'^    ([A-Z]+) = (\d+)\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    sentences = {int(number): re.sub(r"\s+", " ", text) for _, number, text in said} | {130: "Interrupted."}
    rows = [f"| **{one.value}** | {_cell(sentences[one.value])} |" for one in ours.ExitStatus]
    rows.append("| **141** | What read the output is gone (`\\| head`). |")
    order = [f"| `{command.value}` | {', '.join(str(one.value) for one in first)} |" for command, first in ours.ORDER.items()]
    return "\n".join(
        ["# Exit status", "", "| status | means |", "|---|---|", *rows, "", "Where several hold, the first of these counts:", "",
         "| command | order |", "|---|---|", *order, ""]
    )  # fmt: skip


ADVICE = {
    "already_here": "nothing: one engine has at most one replica of a model",
    "card_fault": "`gpurec doctor` says what is wrong with the card",
    "card_too_small": "lower `requires.vram`, or add a larger card",
    "cards_unknown": "declare the cards of the node (`gpus:`), or have them probed",
    "compute_capability": "lower `requires.compute_capability`, or place it `on:` other nodes",
    "compute_capability_unknown": "declare `compute_capability` of the card",
    "digest_differs": "`gpurec pin MODEL` accepts what is installed; or bring the pinned weights back",
    "driver": "update the driver, or lower `requires.driver`",
    "driver_unknown": "have the card probed: a declared card has no driver",
    "dtype": "use weights of another type, or a card that has it",
    "engine_fixed_model": "start that server with this model, or have gpurec start it (`runtime:`)",
    "engine_fixed_options": "start the server with the wanted options, or drop them from the model",
    "engine_kind": "`engine:` of the model names the kinds that may have it",
    "engine_on_gpu": "`residency: gpu`, or an engine of another kind",
    "engine_would_evict": "raise what the engine holds at once, or its free room: [admission](../admission.md)",
    "foreign_unknown": "have the card probed, or trust the declared figure: `policy: {unknown_foreign: assume}`",
    "free_vram": "lower `when.free_vram`, or free the card",
    "insufficient_ram": "declare more `ram` where there is more, or want less on the CPU",
    "insufficient_vram": "free the card, want a smaller variant or context, or raise `priority`, so that lower ones go",
    "kv_cache_fraction": "lower `context` or `parallel`, or raise `limits.kv_cache_fraction`",
    "labels": "give the node the label, or drop it from `requires.labels`",
    "memory_limit": "raise `memory_limit` of the engine",
    "need_unknown": "declare `vram` of the model, or load it once by hand: it is measured then",
    "never_with": "drop the other from `never_with`, or add a card",
    "no_card": "`residency: gpu_preferred`, where a CPU will do",
    "no_flash_attention": "drop `flash_attention`, or use another engine",
    "no_idle": "drop `idle`, or use another engine",
    "no_kv_cache": "drop `kv_cache`, or use another engine",
    "no_parallel": "drop `parallel`, or use another engine",
    "no_split": "drop `by: tensor`, or `split` with it, or use another engine",
    "not_installed": "put the file where the engine looks for models",
    "not_looked_at": "ask `gpurec explain ADDR`: it looks at every engine",
    "outside_limit": "leave `--limit` and `--exclude` out",
    "ram_unknown": "declare `ram` of the node",
    "runs_elsewhere": "`ensure: present`: its requests are only passed on",
    "shared_runner_conflict": "want both names with the same context and options",
    "spread": "fewer `replicas`, or more nodes",
    "split_cards": "bind an engine to as many cards as `split` says (`gpus: [0, 1]`), or drop it",
    "split_slices": "bind an engine to whole cards, or drop `split`",
    "too_large": "want a smaller variant or context, or a larger card",
    "unreachable": "mend the engine: `gpurec doctor NODE`",
    "vram_unknown": "declare `vram` of the card",
    "with": "place the other model there first, or drop it from `with`",
}
"""What helps, by the code of a reason. A test holds it to the codes that there are."""


def reasons() -> str:
    rows = [f"| `{code}` | {ADVICE[code]} |" for code in sorted(ADVICE)]
    head = "The codes of `unplaced[].candidates[]` in a plan and of `gpurec explain ADDR`, which says the same in words with the figures."
    return "\n".join(["# Why a model has no place", "", head, "", "| code | what to do |", "|---|---|", *rows, ""])


def metrics() -> str:
    """Told by the calls that make them, since most are made only of a fleet that was looked at."""
    from reconciler.service.http import metrics as ours

    rows = []
    for node in ast.walk(ast.parse(Path(ours.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS and len(node.args) > 1:
            name, what = (ast.literal_eval(part) if isinstance(part, ast.Constant) else None for part in node.args[:2])
            if isinstance(name, str) and isinstance(what, str):
                end = {"Counter": "_total", "InfoMetricFamily": "_info"}.get(node.func.id, "")
                rows.append(f"| `{name}{end}` | {KINDS[node.func.id]} | {_cell(what)} |")
    head = ["# Metrics", "", "What `GET /metrics` of `gpurec serve` tells.", "", "| name | type | |", "|---|---|---|"]
    return "\n".join([*head, *sorted(rows), ""])


KINDS = {"_gauge": "gauge", "Counter": "counter", "Histogram": "histogram", "InfoMetricFamily": "info"}


def plan() -> str:
    from reconciler.operations.schemas import schema_text

    document = json.loads(schema_text("plan"))
    lines = ["# The plan as JSON", "", "`gpurec plan --format json`, and the file of `--out`. The same as `gpurec schema plan`.", ""]
    known = document.get("$defs", {})
    for name, part in [("the document", document), *sorted(known.items())]:
        keys = part.get("properties", {})
        if keys:
            lines.extend([f"## {name}", "", _cell(part.get("description", "")), "", "| key | type | |", "|---|---|---|"])
            lines.extend(f"| `{key}` | {_type(value, known)} | {_cell(value.get('description', ''))} |" for key, value in keys.items())
            lines.append("")
    return "\n".join(lines)


def _type(value: dict[str, Any], known: dict[str, Any]) -> str:
    """A type in words; one with keys of its own is a link to its section."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})" if known[name].get("properties") else _type(known[name], known)
    if "anyOf" in value:
        return " or ".join(_type(one, known) for one in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}), known)}"
    if "enum" in value or "const" in value:
        return ", ".join(f"`{one}`" for one in value.get("enum", [value.get("const")]))
    kind = value.get("type", "any")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()
