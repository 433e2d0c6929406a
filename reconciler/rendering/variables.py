"""The `vars` of the templates that come with gpurec, with their types: the programs that read the files take a wrong one without a word."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from reconciler.value_class import value_class

STRATEGIES = ("simple-shuffle", "latency-based-routing", "least-busy", "usage-based-routing-v2")
"""Of LiteLLM's router, those that need nothing but the file (litellm/types/router.py, RoutingStrategy)."""


@value_class
class Variable:
    """`pattern` is what its text matches wholly, `meant` what it is, for people. Numbers are matched as they are written."""

    pattern: re.Pattern[str]
    meant: str

    def takes(self, value: object) -> bool:
        return not isinstance(value, bool) and self.pattern.fullmatch(str(value)) is not None


_TEXT = Variable(re.compile(r"[^\x00-\x1f\x7f]+"), "text in one line")
_WORD = Variable(re.compile(r"[^\x00-\x20\x7f\"'\\;{}#$]+"), "one word without blanks and quotes")
_COUNT = Variable(re.compile(r"[0-9]{1,9}"), "a whole number")
_POSITIVE = Variable(re.compile(r"0{0,8}[1-9][0-9]{0,8}"), "a whole number of 1 or more")
_PORT = Variable(re.compile(r"[1-9][0-9]{0,4}"), "a port")
_DURATION = Variable(re.compile(r"(?:[0-9]{1,9}(?:ms|[smhdwy])){1,8}"), "a duration such as 30s, 5m or 1h")
_NAME = Variable(re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "the name of an environment variable")
VARIABLES: Mapping[str, Mapping[str, Variable]] = MappingProxyType(
    {
        "app-gpu": {
            "batch": _POSITIVE,
            "memory_share": Variable(re.compile(r"0?\.(?=[0-9]{0,8}[1-9])[0-9]{1,9}|1(?:\.0{0,9})?"), "a number above 0, 1 at most"),
        },
        "compose": {},
        "grafana": {"datasource": _TEXT, "title": _TEXT},
        "litellm": {
            "master_key": _NAME,
            "strategy": Variable(re.compile("|".join(STRATEGIES)), f"one of {', '.join(STRATEGIES)}"),
            "timeout": Variable(re.compile(r"(?=[0-9.]{0,9}[1-9])[0-9]{1,9}(?:\.[0-9]{1,9})?"), "a number of seconds"),
            "retries": _COUNT,
        },
        "llama-swap": {
            "command": _TEXT,
            "folder": _TEXT,
            "arguments": _TEXT,
            "ttl": _COUNT,
            "timeout": Variable(re.compile(r"1[5-9]|[2-9][0-9]|[1-9][0-9]{2,8}"), "seconds, 15 or more"),
        },
        "nginx": {
            "listen": Variable(re.compile(r"[^\x00-\x1f\x7f\"'\\;{}#$]+"), "an address with a port, as 127.0.0.1:8080"),
            "rate": Variable(re.compile(r"[1-9][0-9]{0,8}r/[sm]"), "requests a second or minute, as 10r/s"),
            "burst": _COUNT,
            "timeout": Variable(re.compile(r"[0-9]{1,9}(?:ms|[smhd])?"), "a duration such as 30s, 5m or 1h"),
            "pid": _WORD,
        },
        "ollama-override": {},
        "prometheus-rules": {"for": _DURATION},
        "prometheus-scrape": {"gpurec": _WORD, "rules": _TEXT, "exporter_port": _PORT, "interval": _DURATION},
        "stack": {"resource": _WORD},
        "systemd-watch": {
            "workspace": _TEXT,
            "program": Variable(re.compile(r"/[^\x00-\x20\x7f\"'\\;{}#$%]*"), "the whole path of a program"),
            "user": _WORD,
            "mode": Variable(re.compile(r"observe|apply"), "observe or apply"),
            "interval": Variable(re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|[smhd])?"), "a duration such as 30s, 5m or 1h"),
        },
    }
)
"""By template; `env-gpu` takes any."""
VARIABLES_HINT = "the docs of templates list the variables of each"


def wrong_name(template: str, name: str) -> tuple[str, str] | None:
    """What is wrong with a variable of this name for a template, and what to do; None where it has it or takes any."""
    known = VARIABLES.get(template)
    if known is None or name in known:
        return None
    near = get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(known))}" if known else "it has none; remove it"
    return f"the template gpurec:{template} has no variable {name!r}", hint


def wrong_value(template: str, name: str, value: object) -> str | None:
    """What is wrong with the value of a variable; None where it is as it must be."""
    variable = VARIABLES.get(template, {}).get(name)
    return None if variable is None or variable.takes(value) else f"{name!r} of gpurec:{template} must be {variable.meant}"
