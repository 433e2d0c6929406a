"""`verify`: one small request right after a load, which finds the CPU that says GPU and the model that is another one."""

from __future__ import annotations

from reconciler.engines.protocol import Engine, LoadRequest
from reconciler.engines.trial import TOKENS
from reconciler.fleet import EngineError, Verify
from reconciler.fleet.matching import Mismatch

CODE = "verify_failed"
LEFT_BEHIND = "verify_unfinished"
"""It was found wrong, and could not be taken back either."""


async def found_wrong(engine: Engine, request: LoadRequest, wanted: Verify) -> Mismatch | None:
    """What the model that `request` loaded shows and should not, or None. The request goes with the options of the load, so that nothing is
    reloaded by it. What cannot be found out counts as wrong too: a try again would take the resident for verified."""
    name = request.name
    try:
        if wanted.embedding_length is not None:
            length = await engine.vector_length(request)
            if length != wanted.embedding_length:
                return Mismatch(CODE, f"{name} makes vectors of {length} numbers, wanted {wanted.embedding_length}")
        if wanted.min_tokens_per_second is not None:
            speed = (await engine.write(request, TOKENS)).rate
            if speed < wanted.min_tokens_per_second:
                return Mismatch(CODE, f"{name} writes {speed:.3g} tokens a second, wanted {wanted.min_tokens_per_second:.12g}")
    except EngineError as error:
        return Mismatch(CODE, f"{name} cannot be verified: {error.problems[0].what}")
    return None
