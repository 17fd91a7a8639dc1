"""`QdrantStore`: passages in a Qdrant collection, in a local folder or on a server."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np

from ...filters import Condition
from ...importing.extras import require
from .base import PassageStore, StoredRow, StoreError
from .location import StoreLocation
from .qdrant_filter import qdrant_filter

OVERSAMPLING = 4.0
"""How many times `k` candidates of quantised vectors are compared again as float32."""
_PAGE = 256
_PROPERTY = "onegen"


class LocalClient:
    """
    The one client of a local folder in this process: a second one would be refused.

    Args:
        folder (`str`)
    """

    _opened: ClassVar[dict[str, LocalClient]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, folder: str) -> None:
        from qdrant_client import QdrantClient

        self.folder = folder
        self.client = QdrantClient(path=folder, force_disable_check_same_thread=True)
        self.lock = threading.RLock()  # the local mode is not made for several threads
        self._users = 0

    @classmethod
    def of(cls, folder: str) -> LocalClient:
        """The client of a folder, until [`release`] was called as often."""
        folder = os.path.abspath(folder)
        with cls._guard:
            if folder not in cls._opened:
                cls._opened[folder] = cls(folder)
            cls._opened[folder]._users += 1
            return cls._opened[folder]

    def release(self) -> None:
        """Give it up; the last one closes it."""
        with self._guard:
            self._users -= 1
            if self._users == 0:
                del self._opened[self.folder]
                self.client.close()


class QdrantStore(PassageStore):
    """
    A Qdrant collection.

    A server quantises as `precision` says and rescores with the float32 vectors, which it keeps on disk; it searches
    an HNSW graph. The client's local mode compares all vectors, in the memory of one process, and quantises nothing.

    Args:
        location ([`StoreLocation`]): Options: `api_key` (or the environment variable `QDRANT_API_KEY`), `https`.
    """

    scheme = "qdrant"
    precisions = ("float32", "float16", "int8", "binary")

    def __init__(self, location: StoreLocation) -> None:
        super().__init__(location)
        require("qdrant_client", "qdrant", f"An index at {location.scheme}://")
        from qdrant_client import QdrantClient, models

        location.require_options("api_key", "https")
        self._models = models
        self._timeout = int(np.ceil(location.timeout()))
        self._local: LocalClient | None = None
        self._lock: Any = nullcontext()
        with self._talking():
            if location.folder is not None:
                self._local = LocalClient.of(location.folder)
                self._client, self._lock = self._local.client, self._local.lock
            else:
                self._client = QdrantClient(
                    host=location.host,
                    port=location.port or 6333,
                    https=location.options.get("https") in ("1", "true"),
                    api_key=location.options.get("api_key") or os.environ.get("QDRANT_API_KEY"),
                    timeout=self._timeout,
                    check_compatibility=False,
                )
                self._client.collection_exists(location.name)  # says at once whether there is a server

    def properties(self) -> dict[str, Any] | None:
        with self._talking():
            if not self._client.collection_exists(self.location.name):
                return None
            metadata = dict(self._client.get_collection(self.location.name).config.metadata or {})
        # As one text: Qdrant drops nulls.
        return dict(json.loads(metadata[_PROPERTY])) if _PROPERTY in metadata else metadata

    def set_properties(self, properties: Mapping[str, Any]) -> None:
        with self._talking():
            self._client.update_collection(self.location.name, metadata={_PROPERTY: json.dumps(properties)})

    def create(self, properties: Mapping[str, Any], size: int, precision: str) -> None:
        models = self._models
        if self.location.folder is not None and precision != "float32":
            raise ValueError(
                f"precision={precision!r}: {self.location} is a local folder, where Qdrant keeps float32 only; use a "
                "server, or leave it out"
            )
        quantised = precision in ("int8", "binary")
        vectors = models.VectorParams(
            size=size,
            distance=models.Distance.DOT,
            datatype=models.Datatype.FLOAT16 if precision == "float16" else None,
            on_disk=True if quantised else None,
        )
        quantisation: Any = None
        if precision == "int8":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            quantisation = models.ScalarQuantization(scalar=scalar)
        if precision == "binary":
            quantisation = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        with self._talking():
            self._client.create_collection(
                self.location.name,
                vectors_config=vectors,
                quantization_config=quantisation,
                metadata={_PROPERTY: json.dumps(properties)},
            )
            if self.location.folder is None:
                kinds: dict[str, Any] = {"id": "keyword", "part": "integer"}
                for name, kind in kinds.items():
                    self._client.create_payload_index(self.location.name, name, field_schema=kind, wait=True)

    def drop(self) -> None:
        with self._talking():
            self._client.delete_collection(self.location.name)

    def count(self, passages: bool = False) -> int:
        with self._talking():
            first = self._first() if passages else None
            return int(self._client.count(self.location.name, count_filter=first, exact=True).count)

    def upsert(self, rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
        points = [
            self._models.PointStruct(id=row.key, vector=vector.tolist(), payload=row.columns())
            for row, vector in zip(rows, vectors, strict=True)
        ]
        with self._talking():
            self._client.upsert(self.location.name, points, wait=True)

    def delete(self, ids: Sequence[str], from_part: int = 0) -> None:
        models = self._models
        conditions = [
            models.FieldCondition(key="id", match=models.MatchAny(any=list(ids))),
            models.FieldCondition(key="part", range=models.Range(gte=from_part)),
        ]
        selector = models.FilterSelector(filter=models.Filter(must=conditions))
        with self._talking():
            self._client.delete(self.location.name, selector, wait=True)

    def search(self, query: np.ndarray, k: int, condition: Condition | None) -> list[tuple[float, StoredRow]]:
        models = self._models
        rescoring = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        wanted = None if condition is None else qdrant_filter(condition, models)
        with self._talking():
            points = self._client.query_points(
                self.location.name,
                query=query.tolist(),
                limit=k,
                query_filter=wanted,
                search_params=None if self._local is not None else models.SearchParams(quantization=rescoring),
                with_payload=True,
            ).points
        return [(float(point.score), StoredRow.of(point.payload or {})) for point in points]

    def fetch(self, keys: Sequence[int]) -> list[StoredRow]:
        with self._talking():
            return [
                StoredRow.of(record.payload or {}) for record in self._client.retrieve(self.location.name, list(keys))
            ]

    def scan(self) -> Iterator[StoredRow]:
        offset: Any = None
        while True:
            with self._talking():
                records, offset = self._client.scroll(
                    self.location.name, scroll_filter=self._first(), limit=_PAGE, offset=offset
                )
            yield from (StoredRow.of(record.payload or {}) for record in records)
            if offset is None:
                return

    def close(self) -> None:
        if self._local is not None:
            self._local.release()
        else:
            self._client.close()

    def _first(self) -> Any:
        models = self._models
        condition = models.FieldCondition(key="part", match=models.MatchValue(value=0))
        return models.Filter(must=[condition])

    @contextmanager
    def _talking(self) -> Iterator[None]:
        from qdrant_client.common.client_exceptions import QdrantException
        from qdrant_client.http.exceptions import ApiException

        with self._lock:
            try:
                yield
            except (ApiException, QdrantException, ConnectionError, RuntimeError) as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise StoreError(
                    f"{self.location}: Qdrant does not answer ({reason[0]}): see that the server runs and the API "
                    "key is right; a local folder can be open in one process only"
                ) from error
