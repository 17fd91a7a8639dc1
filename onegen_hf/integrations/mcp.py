"""`create_server`: search, answers and entity links as tools of the Model Context Protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from ..importing.extras import require

require("mcp", extra="mcp", purpose="onegen_hf.integrations.mcp")

from mcp.server import MCPServer  # noqa: E402

NAME = "onegen-hf"
MOST_PASSAGES = 50
MOST_CHARACTERS = 100_000

Query = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Passages = Annotated[int, Field(ge=1, le=MOST_PASSAGES, description="Number of passages.")]


def create_server(load_rag: Callable[[], Any], load_linker: Callable[[], Any] | None = None) -> MCPServer:
    """
    A server with the tools `search`, `ask` and `link`.

    Args:
        load_rag (`Callable`): Gives [`OneGenRagPipeline`]. Called by the first request that needs it, so that clients
            need not wait for the weights to see the tools.
        load_linker (`Callable`, *optional*): Gives [`OneGenEntityLinkingPipeline`]; without it there is no `link`.

    Returns:
        `MCPServer`: `server.run()` speaks over standard input and output.

    Example:

    ```python
    >>> create_server(lambda: pipeline("onegen-rag"), lambda: pipeline("onegen-entity-linking")).run()
    ```
    """
    server: Any = MCPServer(NAME, instructions="Answers questions from an index of passages, and shows its sources.")
    rag = cache(load_rag)
    lock = threading.Lock()  # the tools run in threads: one loads or decodes at a time

    @server.tool()
    def search(query: Query, k: Passages = 5) -> dict[str, Any]:
        """Find the passages that fit a text. Nothing is generated."""
        with lock:
            return {"passages": [dict(passage) for passage in rag().index.search_text(query, k)]}

    @server.tool()
    def ask(question: Query, k: Passages = 1) -> dict[str, Any]:
        """Answer a question. The model retrieves passages while it writes, and cites those that hold the answer."""
        with lock:
            result = rag()(question, k=k)
        names = ("answer", "answered", "confidence", "citations", "retrievals")
        return {name: result[name] for name in names}

    if load_linker is not None:
        linker = cache(load_linker)

        @server.tool()
        def link(text: Query) -> dict[str, Any]:
            """Find the entities that a text mentions, and link them to a catalogue."""
            with lock:
                return {"mentions": [dict(mention) for mention in linker()(text)]}

    return server
