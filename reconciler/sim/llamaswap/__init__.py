"""A simulated llama-swap, from its wire reference: no real one runs in this project's tests."""

from reconciler.sim.llamaswap.server import LlamaSwapEngine

__all__ = ["LlamaSwapEngine"]
