"""A simulated llama-server, as b10760 behaves on the wire: router mode and single mode."""

from reconciler.sim.llamacpp.router import RouterEngine
from reconciler.sim.llamacpp.single import SingleEngine

__all__ = ["RouterEngine", "SingleEngine"]
