"""`policy.remediation`: what an apply does about a load that failed, and about an engine that does not answer."""

from __future__ import annotations

from reconciler.fleet import USUAL_REMEDIATION, Remediation
from reconciler.workspace.forms import Form, duration, flag, integer
from reconciler.workspace.problems import Problems
from reconciler.workspace.table import Field, Table
from reconciler.workspace.tree import Node

MOST_RETRIES, MOST_PER_HOUR = 20, 1000

RETRIES = Field(
    "retries", integer(0, MOST_RETRIES), says="How often a load is tried again that failed for a reason that may pass; the default is 2."
)
BACKOFF = Field("backoff", duration, says="The pause before the first of these tries, then twice as long each time; the default is 1s.")
PER_HOUR = Field(
    "per_hour",
    integer(0, MOST_PER_HOUR),
    says="The most tries and corrections on one node within an hour; the default is 10, and 0 puts all of this off.",
)
RESTART = Field(
    "restart_engine",
    flag,
    says="Whether an engine that gpurec owns, and that runs and does not answer, is started again; the default is false.",
    meant="restart_engines restart",
)
REMEDIATION = Table("remediation", (RETRIES, BACKOFF, PER_HOUR, RESTART))


def _remediation(node: Node, problems: Problems, name: str) -> Remediation:
    values, usual = REMEDIATION.read(node, problems, name), USUAL_REMEDIATION
    retries, backoff, per_hour = values.get(RETRIES), values.get(BACKOFF), values.get(PER_HOUR)
    return Remediation(
        usual.retries if retries is None else retries,
        usual.backoff if backoff is None else backoff,
        usual.per_hour if per_hour is None else per_hour,
        bool(values.get(RESTART)),
    )


remediation = Form(_remediation, REMEDIATION.schema())
