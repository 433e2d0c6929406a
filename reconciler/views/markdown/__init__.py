"""Plans and drift as markdown that a forge shows: within its budget, and with nothing in it but text from nodes."""

from reconciler.views.markdown.drift import drift_markdown
from reconciler.views.markdown.failure import failure_markdown
from reconciler.views.markdown.layout import FLAT, FOLDING, Flavour
from reconciler.views.markdown.neutral import code, prose
from reconciler.views.markdown.plan import LEAST_BYTES, plan_markdown

__all__ = ["FLAT", "FOLDING", "LEAST_BYTES", "Flavour", "code", "drift_markdown", "failure_markdown", "plan_markdown", "prose"]
