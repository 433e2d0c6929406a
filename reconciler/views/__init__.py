"""Plans, drift reports, facts and outcomes as text, JSON and markdown. Pure: logic never prints, views never decide."""

from __future__ import annotations

from reconciler.views.candidates_text import candidates_json, candidates_text
from reconciler.views.desired_text import desired_text
from reconciler.views.doctor_text import doctor_document, doctor_text
from reconciler.views.document import document_checksum, plan_contents, plan_document, plan_json, plan_summary
from reconciler.views.drift_text import drift_document, drift_text
from reconciler.views.escape import escape
from reconciler.views.facts_text import facts_text
from reconciler.views.history_text import RunRow, RunStep, history_text, run_text
from reconciler.views.inventory_text import inventory_text, validate_text
from reconciler.views.models_text import models_json, models_text
from reconciler.views.need_text import need_json, need_text
from reconciler.views.outcome_text import HeldLine, LostLine, StepLine, outcome_text
from reconciler.views.overlay_text import overlay_text
from reconciler.views.owned_text import owned_text
from reconciler.views.plan_text import Detail, plan_text
from reconciler.views.reservation_text import reservation_json, reservation_text
from reconciler.views.status_text import status_document, status_text
from reconciler.views.style import beside

__all__ = [
    "Detail",
    "HeldLine",
    "LostLine",
    "RunRow",
    "RunStep",
    "StepLine",
    "beside",
    "candidates_json",
    "candidates_text",
    "desired_text",
    "doctor_document",
    "doctor_text",
    "document_checksum",
    "drift_document",
    "drift_text",
    "escape",
    "facts_text",
    "history_text",
    "inventory_text",
    "models_json",
    "models_text",
    "need_json",
    "need_text",
    "outcome_text",
    "overlay_text",
    "owned_text",
    "plan_contents",
    "plan_document",
    "plan_json",
    "plan_summary",
    "plan_text",
    "reservation_json",
    "reservation_text",
    "run_text",
    "status_document",
    "status_text",
    "validate_text",
]
