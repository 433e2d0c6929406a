"""A simulated vLLM, as 0.32.0 behaves on the wire."""

from reconciler.sim.vllm.server import VllmEngine

__all__ = ["VllmEngine"]
