"""The streams in which vLLM decodes an answer, chunk by chunk: one chunk per hop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, ClassVar


class VllmStream:
    """
    Where the output of vLLM comes from, whichever way the text goes in.

    Args:
        engine (`vllm.AsyncLLM`)
        name (`str`): Unique among all requests.
    """

    reads_again: ClassVar[bool]
    """Whether a chunk is sent with all of the text before it."""

    def __init__(self, engine: Any, name: str) -> None:
        self.engine = engine
        self.name = name
        self._outputs: AsyncGenerator[Any, None] | None = None

    async def send(self, ids: Sequence[int], params: Any) -> None:
        """Send tokens; what follows them is decoded with `params`."""
        raise NotImplementedError

    async def receive(self) -> Any:
        """The next piece of the current chunk's output."""
        assert self._outputs is not None
        return (await anext(self._outputs)).outputs[0]

    async def close(self) -> None:
        """Abort what is still decoded."""
        if self._outputs is not None:
            await self._outputs.aclose()


class SessionStream(VllmStream):
    """
    One session of vLLM: each chunk is appended to the same keys and values, so nothing is read twice.

    Args:
        engine (`vllm.AsyncLLM`)
        name (`str`): Unique among all requests.
    """

    reads_again = False

    def __init__(self, engine: Any, name: str) -> None:
        super().__init__(engine, name)
        self._inputs: asyncio.Queue[Any] = asyncio.Queue()

    async def send(self, ids: Sequence[int], params: Any) -> None:
        """Append tokens; what follows them is decoded with `params`."""
        from vllm import TokensPrompt
        from vllm.engine.protocol import StreamingInput

        await self._inputs.put(StreamingInput(TokensPrompt(prompt_token_ids=list(ids)), params))
        if self._outputs is None:
            self._outputs = self.engine.generate(self._chunks(), params, self.name)

    async def _chunks(self) -> AsyncGenerator[Any, None]:
        while True:
            yield await self._inputs.get()


class PlainStream(VllmStream):
    """
    A plain request for each chunk, with all of the text before it: the way out where a session stands still.

    Args:
        engine (`vllm.AsyncLLM`)
        name (`str`)
    """

    reads_again = True

    def __init__(self, engine: Any, name: str) -> None:
        super().__init__(engine, name)
        self._count = 0

    async def send(self, ids: Sequence[int], params: Any) -> None:
        """Decode what follows these tokens, which are the whole text."""
        from vllm import TokensPrompt

        await self.close()
        self._count += 1
        prompt = TokensPrompt(prompt_token_ids=list(ids))
        self._outputs = self.engine.generate(prompt, params, f"{self.name}-plain-{self._count}")
