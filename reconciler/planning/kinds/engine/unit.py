"""The systemd unit of an engine: what its files say of it, with its cards and its port. Quoting is that of systemd.exec(5),
systemd.service(5) and systemd.syntax(7)."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.fleet import (
    ADOPTED,
    AppliedResource,
    CardFacts,
    EngineKind,
    EngineSpec,
    EngineUnit,
    NodeSpec,
    SecretRef,
    UnitScope,
    UnitSpec,
    host_port,
    resource_address,
)
from reconciler.fleet.systemd import MARK
from reconciler.planning.kinds.engine.container import card_mark, is_amd, listen_arguments
from reconciler.planning.kinds.engine.fields import SCOPE, UNIT

_TARGETS = {UnitScope.SYSTEM: "multi-user.target", UnitScope.USER: "default.target"}


def unit_of(fleet: str, node: NodeSpec, engine: EngineSpec, cards: Sequence[CardFacts], args: Sequence[str] = ()) -> UnitSpec:
    """The unit of an engine that gpurec owns, or its drop-in where no program is declared. `args` come before the declared ones."""
    owned = engine.owned
    assert owned is not None
    start = owned.start
    assert isinstance(start, EngineUnit)
    env = {name: value for name, value in owned.env.items() if isinstance(value, str)}
    secrets = {name: value for name, value in owned.env.items() if isinstance(value, SecretRef)}
    if engine.kind is EngineKind.OLLAMA:
        env.setdefault("OLLAMA_HOST", host_port(node.address, owned.port))
    for name, marks in (
        ("CUDA_VISIBLE_DEVICES", [card_mark(card) for card in cards if not is_amd(card)]),
        ("ROCR_VISIBLE_DEVICES", [card_mark(card) for card in cards if is_amd(card)]),
    ):
        if marks:
            env.setdefault(name, ",".join(marks))
    service = [f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(env.items())]
    if secrets:
        service.append(f"EnvironmentFile={_ENVIRONMENT[start.scope]}/{start.unit}.service.d/gpurec.env")
    address = resource_address("engine", engine.id.engine, node.name)
    if start.exec is None:
        return UnitSpec(start.unit, start.scope, _section("Service", service), fleet, address, True, secrets)
    words = [*start.exec, *listen_arguments(engine.kind, node.address, owned.port), *args, *owned.args]
    service += [f"ExecStart={' '.join(_word(word) for word in words)}", "Restart=on-failure", "RestartSec=2"]
    text = "\n".join(
        (
            _section("Unit", [f"Description=Engine {engine.id}", "After=network-online.target"]),
            _section("Service", service),
            _section("Install", [f"WantedBy={_TARGETS[start.scope]}"]),
        )
    )
    return UnitSpec(start.unit, start.scope, text, fleet, address, False, secrets)


_ENVIRONMENT = {UnitScope.SYSTEM: "/etc/systemd/system", UnitScope.USER: "%h/.config/systemd/user"}


def _section(name: str, lines: Sequence[str]) -> str:
    return "\n".join((f"[{name}]", *lines, ""))


def _escaped(text: str) -> str:
    """Specifiers and quotes as themselves, and the end of a line as no end of a line: what came after it would be a setting of its own."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return "".join(f"\\x{ord(one):02x}" if one < " " or one == "\x7f" else one for one in plain)


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _word(text: str) -> str:
    """One argument of a command line, in which a `$` would be a variable."""
    return _quoted(text).replace("$", "$$")


def applied_unit(row: AppliedResource | None) -> UnitSpec | None:
    """What is needed of an applied unit to look at it and to take it away; None where the state does not tell, or it is none."""
    if row is None or row.written is None:
        return None
    name, scope = row.fields.get(UNIT), row.fields.get(SCOPE)
    mark, _, text = row.written.partition("\n")
    formerly = str(row.fields.get(ADOPTED, ""))
    fleet = mark.removeprefix(f"{MARK}{formerly or row.address} of fleet ")
    if not isinstance(name, str) or scope not in list(UnitScope) or fleet == mark:
        return None
    secrets = {"": SecretRef("env", "")} if "\nEnvironmentFile=" in text else {}
    return UnitSpec(name, UnitScope(scope), text, fleet, row.address, "\nExecStart=" not in text, secrets, formerly)
