"""Every rule of the engine protocol, the engines for which it says nothing, and where it is not asked of the real one. One list for all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import rules_header as header
import rules_load as load
import rules_pull as pull
import rules_seen as seen
from subject import ENGINES, LLAMASWAP, OLLAMA, ROUTER, SINGLE, VLLM, Subject

Ask = Callable[[Subject], Awaitable[None]]
SIMULATED, REAL = "simulated", "real"
_FIXED = dict.fromkeys((SINGLE, VLLM), "its one model comes and goes with its process")
_NO_PULL = dict.fromkeys((ROUTER, SINGLE, VLLM, LLAMASWAP), "it cannot pull")
_TAKES_NO_OPTIONS = dict.fromkeys((ROUTER, SINGLE, VLLM, LLAMASWAP), "its own start or configuration decides it")
_ANSWERS_AT_ONCE = dict.fromkeys((OLLAMA, ROUTER, LLAMASWAP), "it answers as soon as it runs")
_NO_HEADER = dict.fromkeys((ROUTER, SINGLE, VLLM, LLAMASWAP), "it tells nothing of a file")
_HAS_MANY = dict.fromkeys((OLLAMA, ROUTER, LLAMASWAP), "it has many models")
_NO_CAPABILITIES = _FIXED | dict.fromkeys((ROUTER, LLAMASWAP), "it does not tell what a model can do")


@dataclass(frozen=True)
class Rule:
    """`world` is what the server must be like: `plain`, `small card`, `registry` and so on. `nothing_for`: engine to why."""

    ask: Ask
    world: str = "plain"
    nothing_for: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.ask.__name__

    def why_not(self, engine: str, where: str) -> str | None:
        """Why this rule is not asked of this engine, simulated or real; None when it is."""
        if where == REAL and engine == LLAMASWAP:
            return "no real llama-swap can be had here"
        return self.nothing_for.get(engine)


RULES: tuple[Rule, ...] = (
    Rule(seen.observe_tells_what_is_installed_and_loads_nothing),
    Rule(header.the_header_of_a_wanted_model_is_told_and_of_its_files_size, nothing_for=_NO_HEADER),
    Rule(seen.observe_is_answered_at_once_while_a_load_is_under_way, nothing_for=_FIXED),
    Rule(seen.observe_is_answered_at_once_while_a_model_writes),
    Rule(seen.observe_evicts_nobody_and_prolongs_nothing),
    Rule(seen.what_is_shown_as_loaded_can_be_used),
    Rule(seen.asking_whether_a_model_is_busy_changes_nothing_and_idle_is_never_called_busy),
    Rule(load.a_second_load_of_the_same_is_harmless),
    Rule(load.unload_is_idempotent_and_the_memory_comes_back, "card", _FIXED),
    Rule(load.unload_never_deletes, nothing_for=_FIXED),
    Rule(load.its_one_model_is_never_touched_and_another_is_refused, nothing_for=_HAS_MANY),
    Rule(load.an_unknown_model_cannot_be_loaded_and_the_error_says_so),
    Rule(load.a_load_that_fails_is_told_and_leaves_nothing, "broken model", _FIXED),
    Rule(load.a_load_without_room_fails_and_leaves_nothing, "small card", _FIXED),
    Rule(load.a_busy_engine_says_that_it_is_busy, "crowded", _FIXED),
    Rule(load.two_loads_at_once_both_end_in_a_known_state, nothing_for=_FIXED),
    Rule(load.a_load_that_the_client_gives_up_leaves_a_known_state, nothing_for=_FIXED),
    Rule(load.a_load_that_never_answers_ends_with_its_deadline, nothing_for=_FIXED),
    Rule(load.a_load_whose_answer_is_cut_leaves_a_known_state, nothing_for=_FIXED),
    Rule(load.an_embedding_model_loads_by_its_capability, nothing_for=_NO_CAPABILITIES),
    Rule(load.a_loaded_model_tells_how_fast_it_writes_and_is_not_reloaded_for_it),
    Rule(load.an_embedding_model_tells_the_length_of_its_vectors, nothing_for=_NO_CAPABILITIES),
    Rule(load.other_runner_options_reload_the_model_and_a_client_without_them_reloads_it_back, nothing_for=_TAKES_NO_OPTIONS),
    Rule(load.for_ever_and_a_finite_keep_alive_are_told_apart, nothing_for=_TAKES_NO_OPTIONS),
    Rule(pull.a_derived_tag_holds_its_context_on_the_same_weights, nothing_for=_NO_PULL),
    Rule(pull.a_deletion_takes_one_name_from_the_disk_and_unloads_nothing, nothing_for=_NO_PULL),
    Rule(pull.a_pull_streams_its_progress_and_ends_when_the_model_is_installed, "registry", _NO_PULL),
    Rule(pull.a_pull_that_was_broken_off_goes_on_where_it_was, "slow registry", _NO_PULL),
    Rule(pull.a_pull_of_what_no_registry_has_fails_though_its_status_is_200, "registry", _NO_PULL),
    Rule(pull.an_engine_that_cannot_pull_or_delete_says_so, nothing_for={OLLAMA: "it can pull"}),
    Rule(
        seen.a_sleeping_model_is_seen_and_looking_does_not_wake_it,
        "sleepy",
        dict.fromkeys((OLLAMA, LLAMASWAP), "its models do not sleep"),
    ),
    Rule(seen.an_engine_that_starts_is_unknown_and_says_so, "starting", _ANSWERS_AT_ONCE),
    Rule(seen.a_restarted_engine_is_empty_and_says_so, nothing_for=_FIXED),
    Rule(seen.a_wrong_key_is_unreachable_with_that_reason, "key", {OLLAMA: "it has no keys"}),
    Rule(seen.a_cut_connection_is_unreachable_and_the_next_look_is_whole),
    Rule(seen.an_engine_that_does_not_answer_costs_its_timeout_and_no_more),
    Rule(seen.names_are_canonical_and_never_parts_of_names),
)  # fmt: skip


def asked(where: str) -> list[tuple[Rule, str]]:
    """Every (rule, engine) that is asked there."""
    return [(rule, engine) for engine in ENGINES for rule in RULES if rule.why_not(engine, where) is None]
