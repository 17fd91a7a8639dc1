"""The HTTP server of the tests, in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from onegen_hf.serving.embedding import Embedder
from onegen_hf.serving.http import Services, create_app
from onegen_hf.serving.metrics import ServingMetrics
from onegen_hf.serving.server import Server
from support.serving_setup import scheduler_for

KEYS = ["first-key", "second-key"]


@dataclass
class Running:
    """A server that listens."""

    url: str
    services: Services
    server: Server

    def client(self, key: str | None = KEYS[0], **options: Any) -> httpx.Client:
        """With a key, or without one."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **options)

    def ask(self, path: str, body: Any, key: str | None = KEYS[0]) -> httpx.Response:
        """One request."""
        with self.client(key) as client:
            return client.post(path, json=body)


@contextmanager
def running_server(rag: Any, linker: Any = None, app_options: Any = None, **limits: Any) -> Iterator[Running]:
    """Serves until the end of the block, then shuts down."""
    metrics = ServingMetrics()
    scheduler = scheduler_for(rag, metrics, **limits)
    services = Services(
        scheduler, metrics, "tiny", Embedder(rag.model, rag.tokenizer), linker, None if linker is None else "linker"
    )
    app = create_app(services, **{"api_keys": KEYS, **(app_options or {})})
    server = Server(uvicorn.Config(app, port=0, log_level="warning"), scheduler)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", services, server)
    finally:
        server.should_exit = True
        thread.join()
