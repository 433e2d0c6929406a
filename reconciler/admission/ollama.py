"""Ollama's scheduler, as far as it can be foretold (server/sched.go and llm/llama_server.go; the same in 0.32.0, 0.33.0 and 0.34.0).

One load at a time. The first one is always tried. A further one is predicted: the file, and an f16 cache by the least KV heads of any layer
and the embedding over the heads. It goes on the card with most free memory of which 80% are enough, else on all cards if 80% of their sum
are, else residents leave: idle ones first, the shortest keep-alive first, then by the path of the weights; pinned ones too. A surcharge for
large batches counts only where the batch is asked for: one that Ollama picks itself it lowers until it costs nothing.

What it believes free is the card's total (or what was free at a load) less what its own runners say that they hold: memory that others took
later is not seen. Which runner is asked is random where there are several, so here the least of it is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.admission.rules import Rules
from reconciler.admission.verdict import CardSeen, EngineResident, ModelToLoad, Verdict
from reconciler.fleet.units import GIB, MIB

PERCENT = 80
_SURCHARGES = ((2048, 2 * GIB), (1024, 768 * MIB))
LEAST_CONTEXT = 4
_LARGEST_COUNT = 2**24


def predicted_bytes(load: ModelToLoad) -> tuple[int | None, int | None]:
    """(at least, at most) bytes that PredictServerVRAM will say, with the surcharge of a batch that is asked for; None where nobody knows.

    The file alone is the least; without the cache's shape or the context there is no most.
    """
    if load.file_bytes is None:
        return None, None
    extra = 0 if load.embedding or load.batch is None else next((cost for batch, cost in _SURCHARGES if load.batch >= batch), 0)
    least = load.file_bytes + extra
    if load.cache_per_token is None or load.context is None:
        return least, None
    whole = least + load.cache_per_token * max(LEAST_CONTEXT, load.context) * max(1, load.parallel)
    return whole, whole


def threshold(free: int) -> int:
    """The largest prediction that fits into `free` bytes (sched.go: `freeMemory*80/100`)."""
    return max(0, free) * PERCENT // 100


def least_free(predicted: int) -> int:
    """The least free bytes of which `threshold` takes a prediction."""
    return -(-predicted * 100 // PERCENT)


def cache_per_token(keys: Mapping[str, object]) -> int | None:
    """Bytes that PredictServerVRAM reckons a token of cache with, from the keys of a file's header: keys and values in f16, layers × least
    KV heads × embedding over heads, whatever the real heads are; None where a count is missing or is no count."""
    architecture = keys.get("general.architecture")
    layers, embedding = (_counts(keys.get(f"{architecture}.{key}")) for key in ("block_count", "embedding_length"))
    heads, shared = (_counts(keys.get(f"{architecture}.attention.{key}", 1)) for key in ("head_count", "head_count_kv"))
    if layers is None or embedding is None or heads is None or shared is None:
        return None
    return 2 * max(layers) * max(1, min(shared)) * (max(embedding) // max(heads) if max(heads) else 0) * 2


def _counts(value: object) -> tuple[int, ...] | None:
    """One number or one for each layer; None where it is neither."""
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    numbers = tuple(one for one in found if isinstance(one, int) and not isinstance(one, bool) and 0 <= one <= _LARGEST_COUNT)
    return numbers if numbers and len(numbers) == len(found) else None


def admit(load: ModelToLoad, seats: Sequence[EngineResident], cards: Sequence[CardSeen], rules: Rules) -> Verdict:
    """What Ollama does with `load` where `seats` are resident: where it goes, who leaves for it, and whether a part ends up on the CPU."""
    left = sorted(seats, key=_leaves_first)
    gone: list[str] = []
    unknown: list[str] = []
    if not rules.known:
        return Verdict(None, spills=None, unknown=("the rules of this version",))
    while left:
        if rules.most is None or len(left) < rules.most:
            where = _fits(load, left, cards, rules)
            if where is not None:
                break
            if _may_fit(load, left, cards):
                unknown.append("what it will predict")
                break
        gone.append(left.pop(0).name)
    where = _place(load, left, cards, rules)
    return Verdict(where, tuple(gone), _spills(load, left, cards, where, rules), tuple(unknown))


def _leaves_first(seat: EngineResident) -> tuple[bool, float, str]:
    """ByDurationAndName. A keep-alive that nobody knows is taken for a short one: it is not pinned, as far as we know."""
    return not seat.idle, seat.keep_alive if seat.keep_alive is not None else 0.0, seat.path


def _believed(card: CardSeen, left: Sequence[EngineResident]) -> int:
    return max(0, card.free - sum(count for seat in left for index, count in seat.bytes if index == card.index))


def _fits(load: ModelToLoad, left: Sequence[EngineResident], cards: Sequence[CardSeen], rules: Rules) -> tuple[int, ...] | None:
    """Where a further model goes; None when it is not predicted to fit, or not known to be."""
    if load.cpu or not cards:
        return ()
    _, most = predicted_bytes(load)
    return None if most is None else _on_cards(most, left, cards, rules)


def _may_fit(load: ModelToLoad, left: Sequence[EngineResident], cards: Sequence[CardSeen]) -> bool:
    least, most = predicted_bytes(load)
    return most is None and (least is None or least <= threshold(sum(_believed(card, left) for card in cards)))


def _on_cards(predicted: int, left: Sequence[EngineResident], cards: Sequence[CardSeen], rules: Rules) -> tuple[int, ...] | None:
    single = _best_card(predicted, left, cards, rules)
    if single is not None:
        return (single.index,)
    enough = predicted <= threshold(sum(_believed(card, left) for card in cards))
    return tuple(card.index for card in cards) if enough else None


def _best_card(predicted: int, left: Sequence[EngineResident], cards: Sequence[CardSeen], rules: Rules) -> CardSeen | None:
    """The card with most free memory, the first of equals, if the prediction fits there (bestSingleGPUFit)."""
    if len(cards) > 1 and rules.spread:
        return None
    best = max(cards, key=lambda card: _believed(card, left))
    return best if predicted <= threshold(_believed(best, left)) else None


def _place(load: ModelToLoad, left: Sequence[EngineResident], cards: Sequence[CardSeen], rules: Rules) -> tuple[int, ...] | None:
    """The cards that llama-server is given: one where it is predicted to fit, else all."""
    if load.cpu or not cards:
        return ()
    if len(cards) == 1:
        return (cards[0].index,)
    _, most = predicted_bytes(load)
    if most is None:
        return None
    single = _best_card(most, left, cards, rules)
    return (single.index,) if single is not None else tuple(card.index for card in cards)


def _spills(
    load: ModelToLoad, left: Sequence[EngineResident], cards: Sequence[CardSeen], where: tuple[int, ...] | None, rules: Rules
) -> bool | None:
    """Whether llama-server's own fit (common/fit.cpp) takes fewer layers: it leaves `rules.fit_margin` of each card free."""
    if load.cpu or not cards:
        return False
    if load.need is None or rules.fit_margin is None or where is None:
        return None
    room = 0
    for card in cards:
        if card.index in where:
            free = card.free if card.really_free is None else card.really_free
            room += max(0, free - sum(count for seat in left for index, count in seat.bytes if index == card.index) - rules.fit_margin)
    return load.need > room
