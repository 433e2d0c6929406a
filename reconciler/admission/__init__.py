"""What an engine itself will do with a load: take it, evict others for it, or put a part of it on the CPU. Pure, by kind and version."""

from __future__ import annotations

from reconciler.admission.ollama import admit, cache_per_token, least_free, predicted_bytes, threshold
from reconciler.admission.router import admit_by_router
from reconciler.admission.rules import FIT_MARGIN, FIT_TARGET, NO_RULES, Rules, rules_of
from reconciler.admission.sequence import PendingLoad, any_order_holds, arrange, holds
from reconciler.admission.verdict import CardSeen, EngineResident, ModelToLoad, Verdict
from reconciler.admission.vllm import free_at_start, told_utilization, utilization_of

__all__ = [
    "FIT_MARGIN",
    "FIT_TARGET",
    "NO_RULES",
    "CardSeen",
    "EngineResident",
    "ModelToLoad",
    "PendingLoad",
    "Rules",
    "Verdict",
    "admit",
    "admit_by_router",
    "any_order_holds",
    "arrange",
    "cache_per_token",
    "free_at_start",
    "holds",
    "least_free",
    "predicted_bytes",
    "rules_of",
    "threshold",
    "told_utilization",
    "utilization_of",
]
