"""One replica as the rules see it: what is wanted, what is there, what was applied."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.fleet import (
    STARTED_WITH_MODEL,
    AppliedReplica,
    AskedBefore,
    ContextVia,
    EngineKind,
    Ensure,
    ModelSpec,
    ResidentStatus,
    ResidentView,
    format_ratio,
    weights_digest,
)
from reconciler.fleet.matching import CONTEXT, FRACTION, KEEP_ALIVE, is_wrong
from reconciler.placement import Target
from reconciler.planning.kinds.model.holds import CONTEXT_DIFFERS, CPU_FALLBACK, Hold, held_message


class Replica(NamedTuple):
    """A target with its facts, as far as the rules may know them: nothing of which engine it is on or how many bytes it takes, so that
    what is alike is judged once.

    `applied` is what the state has at its address, `loaded_as` what we asked for when what is there was loaded, whatever model it was for;
    None where it was not ours, or nothing is there. `mode` is that of the engine, `lists_known` whether it could say what is installed,
    `blob` the weights of what is installed under the name to load, else under the one that is pulled. `evicted_by` is the resident for
    which its engine threw it out, `asked_again` that `--replace` names it, `restarts` that its engine is started anew and loses it.
    """

    model: ModelSpec
    kind: EngineKind
    mode: str | None
    has_cards: bool
    lists_known: bool
    is_installed: bool
    base_installed: bool
    blob: str | None
    resident: ResidentView | None
    applied: AskedBefore | None
    loaded_as: AskedBefore | None
    deferred: bool
    shares: bool
    left_alone: bool
    hold: Hold | None = None
    evicted_by: str | None = None
    asked_again: bool = False
    restarts: bool = False

    @property
    def engine_name(self) -> str:
        """The name to load: a derived tag perhaps."""
        return self.model.engine_name(self.kind)

    @property
    def base_name(self) -> str:
        """The name that is pulled."""
        return self.model.base_name(self.kind)

    @property
    def wants_resident(self) -> bool:
        return self.model.ensure is Ensure.LOADED

    @property
    def fixed(self) -> bool:
        """A server whose one model and options were given at its start: observed only."""
        return self.mode == "single"

    @property
    def sets_options(self) -> bool:
        """Whether context and options can be given: through the engine's API, or by starting it anew."""
        return self.kind is EngineKind.OLLAMA or self.given_at_start

    @property
    def given_at_start(self) -> bool:
        """Whether gpurec starts the engine, and starts it with this model."""
        return self.mode == STARTED_WITH_MODEL

    @property
    def sets_context(self) -> bool:
        """Whether a reload can change the context: not where the server's own start decides it."""
        return self.sets_options and self.model.context_via is not ContextVia.ENGINE

    @property
    def fraction_wrong(self) -> bool:
        """On the wrong device, as far as the engine tells: too little on the card, or on the card though the CPU was asked for."""
        return self._is_wrong(FRACTION)

    @property
    def context_wrong(self) -> bool:
        return self._is_wrong(CONTEXT)

    def _is_wrong(self, field: str) -> bool:
        return is_wrong(field, self.model, self.resident, self.has_cards)

    @property
    def context_dropped(self) -> bool:
        """It runs with a context that we gave it and that the files no longer ask for."""
        resident, row = self.resident, self.loaded_as
        if resident is None or row is None or resident.status is ResidentStatus.LOADING:
            return False
        return self.model.dropped_context(row.context, resident.context)

    @property
    def held(self) -> str | None:
        """Why it is left alone though it is not as wanted; None where it is not."""
        if self.hold is None:
            return None
        if self.left_alone:
            return held_message(self.hold, self.evicted_by, "", "")
        if self.hold.evicted or self.resident is None or not self.sets_options:
            return None
        if self.context_wrong and self.sets_context and self.held_for(CONTEXT_DIFFERS):
            tag = f"; clients of {self.base_name} undo it, have them ask for {self.engine_name}"
            advice = (
                tag if self.engine_name != self.base_name else "; a client that sends no num_ctx undoes it, `context_via: tag` does not"
            )
            return held_message(
                self.hold, None, f"context {self.resident.context}, wanted {self.model.wanted_context}", advice, CONTEXT_DIFFERS
            )
        if self.fraction_wrong and self.held_for(CPU_FALLBACK):
            shown = format_ratio(self.resident.gpu_fraction or 0.0)
            advice = "; see whether something else holds the card, or what its engine's log says"
            return held_message(self.hold, None, f"{shown} on the card", advice, CPU_FALLBACK)
        return None

    def held_for(self, fault: str) -> bool:
        """Whether it was reloaded for this fault within the hour, and so is not again; another fault is mended all the same."""
        return self.hold is not None and not self.hold.evicted and fault in self.hold.faults

    @property
    def other_weights(self) -> str | None:
        """The digest of weights that are not the pinned ones: of those that run, else of those that the next load would bring. None where
        nothing is pinned, or the engine does not tell."""
        blobs = (self.resident.blob if self.resident is not None else None, self.blob)
        found = (weights_digest(blob) for blob in blobs if blob is not None)
        return next((digest for digest in found if digest != self.model.digest), None) if self.model.digest is not None else None

    @property
    def deleted(self) -> bool:
        """It runs, and its engine does not have it on disk any more: the next load would fail."""
        return (
            self.wants_resident
            and self.resident is not None
            and self.kind is EngineKind.OLLAMA
            and self.lists_known
            and not self.is_installed
        )

    @property
    def keep_alive_wrong(self) -> bool:
        """Only for-ever against finite is managed; unknown is neither."""
        return self._is_wrong(KEEP_ALIVE)

    @property
    def options_changed(self) -> bool:
        """Runner options differ from those last applied; engines do not tell what a runner was loaded with."""
        row = self.loaded_as
        return row is not None and self.sets_options and dict(row.options) != dict(self.model.options)

    @property
    def is_recorded(self) -> bool:
        """Whether the state has it as loaded under this name: what is seen of it is then kept up to date without a step."""
        return self.applied is not None and self.applied.ensure == Ensure.LOADED and self.applied.engine_name == self.engine_name

    @property
    def other_variant(self) -> str | None:
        """The name of another form of the model that was last applied here and is to go; None where it is the same one."""
        row = self.applied
        if row is None or self.model.variant is None or self.model.called(self.kind, row.engine_name, row.context) is not None:
            return None
        return row.engine_name

    @property
    def asks_something_new(self) -> bool:
        """Desired differs from what was last applied, or nothing was applied yet."""
        row = self.applied
        return row is None or (
            row.ensure != self.model.ensure
            or row.engine_name != self.engine_name
            or row.context != self.model.context
            or row.keep_alive != self.model.keep_alive
            or row.residency != self.model.residency
            or row.protect != self.model.protect
            or dict(row.options) != dict(self.model.options)
        )


def replica_of(
    target: Target,
    row: AppliedReplica | None,
    hold: Hold | None = None,
    evicted_by: str | None = None,
    asked_again: bool = False,
    restarts: bool = False,
) -> Replica:
    """A target as the rules see it; `row` is what the state has at its address."""
    model, slot, found, facts = target.model, target.slot, target.found, target.slot.facts
    pulled, own = model.names_on(slot.kind)
    installed = base = slot.installed(pulled)
    if own != pulled:
        installed = slot.installed(own)
    weights = installed or base
    applied = row.asked if row is not None else None
    loaded = found.loaded_as(model) if found is not None else None
    return Replica(
        model,
        slot.kind,
        facts.mode if facts is not None else None,
        bool(slot.cards),
        facts is not None and facts.installed is not None,
        installed is not None,
        base is not None,
        weights.blob if weights is not None else None,
        found.resident.view if found is not None else None,
        applied,
        applied if loaded is row else loaded.asked if loaded is not None else None,
        target.deferred,
        target.shares,
        target.held,
        hold,
        evicted_by,
        asked_again,
        restarts,
    )
