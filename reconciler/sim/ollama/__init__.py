"""A simulated Ollama, as 0.34.0 behaves on the wire."""

from reconciler.sim.ollama.server import OllamaEngine

__all__ = ["OllamaEngine"]
