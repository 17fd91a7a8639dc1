"""`TorchBackend`: exact search with torch, on the device where the queries lie."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...hub.layout import EMBEDDINGS_FILE
from .base import MISSING, VectorBackend

logger = logging.getLogger(__name__)

SCORES_AT_A_TIME = 2**24
"""Scores of one step of a search, 64 MiB in float32: memory stays bounded, whatever the size of the corpus."""
QUERIES_AT_A_TIME = 4096
_TENSOR = "embeddings"


class TorchBackend(VectorBackend):
    """
    All vectors in one tensor, compared with every query: exact, and without a copy of the queries to the host.

    Queries on an accelerator are searched there: the vectors move to it at the first such search and stay. Only the
    `k` best scores and rows of each query come back to the host.

    Args:
        device (`str` or `torch.device`, *optional*): Where the vectors lie. By default where the queries come from,
            once they come from an accelerator; name `"cpu"` if the vectors do not fit its memory.

    Example:

    ```python
    >>> index = PassageIndex.build(model, tokenizer, passages, backend="torch")
    >>> index = PassageIndex.build(model, tokenizer, passages, backend=TorchBackend(device="cuda:1"))
    ```
    """

    name = "torch"
    file_name = EMBEDDINGS_FILE
    write_errors = (SafetensorError,)

    def __init__(self, device: str | torch.device | None = None) -> None:
        try:
            self.device = None if device is None else torch.device(device)
        except (RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"device={device!r} is no device ({reason}): give 'cpu', 'cuda', 'cuda:1', ..."
            ) from error
        self._vectors = torch.empty(0, 0)  # (count, hidden), float32

    @property
    def count(self) -> int:
        return self._vectors.shape[0]

    @property
    def dimension(self) -> int:
        return self._vectors.shape[1]

    def check(self, dimension: int, count: int) -> None:
        if self.device is not None:
            self._moved(torch.empty(0, dimension), self.device)  # the device may be missing

    def build(self, embeddings: np.ndarray) -> None:
        vectors = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
        self._vectors = vectors if self.device is None else self._moved(vectors, self.device)

    def search(self, queries: Tensor, k: int, allowed: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        vectors = self._vectors_for(queries.device)
        mask = None if allowed is None else torch.from_numpy(allowed).to(vectors.device)
        # (n, hidden) x (count, hidden) -> (n, k)
        scores, rows = nearest_rows(queries.to(vectors.device), vectors, k, mask)
        return scores.cpu().numpy(), rows.cpu().numpy()

    def take(self, rows: np.ndarray, new: np.ndarray) -> TorchBackend:
        taken = TorchBackend(self.device)
        device = self._vectors.device
        source = torch.from_numpy(np.asarray(rows, np.int64)).to(device)
        vectors = self._vectors.new_empty(len(rows), self.dimension)
        kept = source != MISSING
        vectors[kept] = self._vectors[source[kept]]
        vectors[~kept] = torch.from_numpy(np.asarray(new, np.float32)).to(device)
        taken._vectors = vectors
        return taken

    def write(self, path: Path) -> None:
        save_file({_TENSOR: self._vectors.cpu().contiguous()}, path)

    @classmethod
    def read(cls, path: Path, settings: Mapping[str, Any], mmap: bool = True) -> TorchBackend:
        try:
            # The reader compares the header with the size of the file before it believes it.
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                header = file.get_slice(_TENSOR) if names == [_TENSOR] else None
                form = (header.get_dtype(), len(header.get_shape())) if header is not None else None
            if form != ("F32", 2):
                raise ValueError(
                    f"{path} holds {names} ({form}) instead of one float32 matrix 'embeddings': it was not written by "
                    "`PassageIndex.save`"
                )
            vectors = load_file(path)[_TENSOR]
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path} is no readable safetensors file ({error}): build or download it again"
            ) from error
        backend = cls()
        backend._vectors = vectors if mmap else vectors.clone()
        return backend

    def _vectors_for(self, device: torch.device) -> Tensor:
        # One read of the attribute: another thread may replace it meanwhile, by an equal tensor elsewhere.
        vectors = self._vectors
        if self.device is None and vectors.device.type == "cpu" and device.type != "cpu":
            logger.info("moving %d vectors to %s", len(vectors), device)
            vectors = self._vectors = self._moved(vectors, device)
        return vectors

    @staticmethod
    def _moved(vectors: Tensor, device: torch.device) -> Tensor:
        try:
            return vectors.to(device)
        except torch.OutOfMemoryError as error:
            gigabytes = vectors.numel() * 4 / 1e9
            raise ValueError(
                f"the {len(vectors)} vectors take {gigabytes:.1f} GB, and {device} has not as much free: search on "
                "the host with `TorchBackend(device='cpu')`, or build a compressed FAISS index ('IVF4096,PQ64np')"
            ) from error
        except (RuntimeError, AssertionError) as error:  # torch was built without this kind of device
            reason = str(error).splitlines()[0]
            raise ValueError(f"device={str(device)!r} cannot be used ({reason}): name one that is there") from error


@torch.no_grad()
def nearest_rows(queries: Tensor, vectors: Tensor, k: int, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """
    The greatest inner products of each query, without a matrix of all scores.

    Args:
        queries (`Tensor` of shape `(n, hidden)`, float32)
        vectors (`Tensor` of shape `(count, hidden)`, float32): On the device of the queries.
        k (`int`): From 1 to `count`.
        allowed (`Tensor` of shape `(count,)`, bool, *optional*): The rows that may be returned; by default all.

    Returns:
        `tuple[Tensor, Tensor]`: Scores (float32) and rows (int64), both `(n, k)`, best first, on the same device;
        score `-inf` and row -1 where fewer than `k` rows are allowed.
    """
    if len(queries) > QUERIES_AT_A_TIME:
        parts = [nearest_rows(part, vectors, k, allowed) for part in queries.split(QUERIES_AT_A_TIME)]
        return torch.cat([scores for scores, _ in parts]), torch.cat([rows for _, rows in parts])
    scores = queries.new_empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    step = max(1, SCORES_AT_A_TIME // max(1, len(queries)))
    kind = queries.device.type
    # Under autocast a matrix product would be computed, and rounded, in half precision.
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
        for start in range(0, len(vectors), step):
            products = queries @ vectors[start : start + step].T  # (n, step)
            if allowed is not None:
                products = products.masked_fill(~allowed[start : start + step], -torch.inf)
            best, places = products.topk(min(k, products.shape[1]))
            # Merge with the best so far: (n, <= 2k) -> (n, <= k).
            candidates = torch.cat([scores, best], dim=1)
            candidate_rows = torch.cat([rows, places + start], dim=1)
            scores, order = candidates.topk(min(k, candidates.shape[1]))
            rows = candidate_rows.gather(1, order)
    return scores, rows if allowed is None else rows.masked_fill(scores == -torch.inf, MISSING)
