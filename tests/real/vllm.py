"""vLLM's CPU build as a server: one process, one tiny model, silent for up to minutes while it starts."""

from __future__ import annotations

from pathlib import Path

from processes import LOOPBACK, HttpServer, Process, free_port
from provision import Provisioned

from reconciler.fleet import EngineKind, KvCache, RunOptions

KEY = "sesame-key"
NAMES = ("tiny", "also-tiny")


class Vllm(HttpServer):
    """`vllm.entrypoints.openai.api_server`; as a module, since the package has another name than its program expects."""

    ready_seconds = 480.0

    def __init__(self, real: Provisioned, home: Path) -> None:
        super().__init__(free_port())
        self.home = home
        server = [real.vllm, "-m", "vllm.entrypoints.openai.api_server", "--model", real.vllm_model, "--served-model-name", *NAMES]
        own = ["--host", LOOPBACK, "--port", str(self.port), "--max-model-len", "1024", "--enforce-eager", "--api-key", KEY]
        run = [word for name, *_, value in RunOptions(4, KvCache.F16).arguments(EngineKind.VLLM) for word in (name, value)]
        self._command: list[str | Path] = [*server, *own, *run]
        self._environment = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_SERVER_DEV_MODE": "1",
        }
        self.begin()

    def begin(self) -> None:
        """Starts it and does not wait."""
        self.process = Process("vllm", self._command, self.home, self._environment)

    def start(self) -> None:
        self.begin()
        self.await_ready()
