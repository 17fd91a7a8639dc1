"""`BatchedSearch`: searches of concurrent answers, made together."""

from __future__ import annotations

import asyncio
from typing import Any

import torch

from ....generation import Hit, OnePassDecoder, RowState


class BatchedSearch:
    """Collects searches while another one runs, and makes those of one decoder together, in a thread."""

    def __init__(self) -> None:
        self._waiting: list[tuple[OnePassDecoder, RowState, torch.Tensor, asyncio.Future[list[Hit]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def search(self, decoder: OnePassDecoder, row: RowState, embedding: torch.Tensor) -> list[Hit]:
        """The passages for one row; `embedding` has the shape `(hidden,)`."""
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._waiting.append((decoder, row, embedding, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            decoder = self._waiting[0][0]
            batch = [entry for entry in self._waiting if entry[0] is decoder]
            self._waiting = [entry for entry in self._waiting if entry[0] is not decoder]
            rows, embeddings = [entry[1] for entry in batch], torch.stack([entry[2] for entry in batch])
            outcome: Any
            try:
                outcome = await asyncio.to_thread(decoder.retrieve, rows, embeddings)
            except Exception as error:
                outcome = [error] * len(batch)
            for (*_, future), hits in zip(batch, outcome, strict=True):
                if future.done():  # cancelled meanwhile
                    continue
                if isinstance(hits, Exception):
                    future.set_exception(hits)
                else:
                    future.set_result(hits)
