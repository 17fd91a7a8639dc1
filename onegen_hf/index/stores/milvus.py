"""`MilvusStore`: passages in a Milvus collection, in a local file (Milvus Lite) or on a server."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...checks import shown
from ...data.passages import Passage
from ...filters import Condition
from ...importing.extras import require
from .base import PassageStore, StoredRow, StoreError
from .facts import facts
from .location import StoreLocation
from .milvus_filter import milvus_filter

_COLUMNS = ["id", "part", "title", "text", "sentences", "meta"]
_PROPERTY = "onegen"
_LONGEST = 65535
"""Bytes of a text that Milvus can store."""
_REMEDIES = {"id": "shorten it", "title": "shorten it", "text": "split it with `max_tokens_per_passage`"}
_MOST = 16384
"""Results of one search."""
_CONSISTENCIES = ("Strong", "Session", "Bounded", "Eventually")
_INDEXES = ("FLAT", "HNSW", "IVF_FLAT", "AUTOINDEX")


class _Users:
    """How many stores of this process use each local file: the last one lets other processes have it."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, folder: str) -> None:
        with self._lock:
            self._counts[os.path.abspath(folder)] += 1

    def release(self, folder: str) -> bool:
        """Whether it was the last user."""
        with self._lock:
            self._counts[os.path.abspath(folder)] -= 1
            return self._counts[os.path.abspath(folder)] == 0


_users = _Users()


class MilvusStore(PassageStore):
    """
    A Milvus collection. A search compares all vectors, unless another index is asked for.

    A search finds whatever anyone has written before. A server takes up to 0.3 seconds to be sure of that;
    `consistency=Bounded` does without, and may miss the last seconds.

    Args:
        location ([`StoreLocation`]): Options: `index=HNSW`, `consistency=Bounded`, `token`.
    """

    scheme = "milvus"

    def __init__(self, location: StoreLocation) -> None:
        super().__init__(location)
        require("pymilvus", "milvus", f"An index at {location.scheme}://")
        location.require_options("index", "consistency", "token")
        self._index = location.options.get("index", "FLAT").upper()
        if self._index not in _INDEXES:
            raise ValueError(f"{location}: index={self._index!r} is unknown: choose one of {', '.join(_INDEXES)}")
        self._consistency = location.options.get("consistency", "Strong").capitalize()
        if self._consistency not in _CONSISTENCIES:
            raise ValueError(
                f"{location}: consistency={self._consistency!r} is unknown: choose one of {', '.join(_CONSISTENCIES)}"
            )
        self._timeout = location.timeout()
        # What reads all rows, as counting and deleting do in a file, or writes many.
        self._long_timeout = 6 * self._timeout
        if location.folder is not None:
            require("milvus_lite", "milvus", f"An index in a file at {location.scheme}://")
            if not location.folder.endswith(".db"):
                raise ValueError(
                    f"{location}: a local Milvus file must end with .db: write milvus://./file.db/{location.name}"
                )
            os.makedirs(os.path.dirname(os.path.abspath(location.folder)), exist_ok=True)
            uri, token = location.folder, ""
        else:
            uri = f"http://{location.host}:{location.port or 19530}"
            credentials = f"{location.user}:{location.password or ''}" if location.user else ""
            token = location.options.get("token") or credentials or os.environ.get("MILVUS_TOKEN", "")
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback of each error that it raises
        if location.folder is not None:
            logging.getLogger("grpc._server").setLevel(logging.CRITICAL)  # Milvus Lite lacks calls that pymilvus tries
            _users.take(location.folder)
        with self._talking():
            from pymilvus import MilvusClient

            self._client = MilvusClient(uri=uri, token=token, timeout=self._timeout)

    def properties(self) -> dict[str, Any] | None:
        with self._talking():
            if not self._client.has_collection(self.location.name, timeout=self._timeout):
                return None
            self._client.load_collection(self.location.name)  # a file that was opened again has loaded nothing
            described = self._client.describe_collection(self.location.name, timeout=self._timeout)
            return dict(json.loads(described["properties"].get(_PROPERTY, "{}")))

    def set_properties(self, properties: Mapping[str, Any]) -> None:
        with self._talking():
            values = {_PROPERTY: json.dumps(properties)}
            self._client.alter_collection_properties(self.location.name, properties=values, timeout=self._timeout)

    def create(self, properties: Mapping[str, Any], size: int, precision: str) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        for name in ("id", "title", "text"):
            schema.add_field(name, DataType.VARCHAR, max_length=_LONGEST)
        schema.add_field("part", DataType.INT64)
        for name in ("sentences", "meta", "facts"):
            schema.add_field(name, DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=size)
        index = MilvusClient.prepare_index_params()
        parameters = {"HNSW": {"M": 32, "efConstruction": 200}, "IVF_FLAT": {"nlist": 1024}}.get(self._index, {})
        index.add_index("vector", index_type=self._index, metric_type="IP", params=parameters)
        with self._talking():
            self._client.create_collection(
                self.location.name,
                schema=schema,
                index_params=index,
                properties={_PROPERTY: json.dumps(properties)},
                consistency_level="Strong",
                timeout=self._timeout,
            )

    def drop(self) -> None:
        with self._talking():
            self._client.drop_collection(self.location.name, timeout=self._timeout)

    def count(self, passages: bool = False) -> int:
        with self._talking():
            counted = self._client.query(
                self.location.name,
                filter="part == 0" if passages else "",
                output_fields=["count(*)"],
                timeout=self._long_timeout,
            )
        return int(counted[0]["count(*)"])

    def check_passage(self, passage: Passage) -> None:
        for name in ("id", "title", "text"):
            if len(getattr(passage, name).encode()) > _LONGEST:
                raise ValueError(
                    f"passage {shown(passage.id)}: its {name} has more than the {_LONGEST} bytes that Milvus can "
                    f"store: {_REMEDIES[name]}"
                )

    def upsert(self, rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
        records = []
        for row, vector in zip(rows, vectors, strict=True):
            columns = row.columns()
            # Values of a JSON field are objects.
            boxed = {"sentences": {"value": columns["sentences"]}, "meta": {"value": columns["meta"]}}
            records.append(
                {"row": row.key, **columns, **boxed, "facts": facts(columns["meta"]), "vector": vector.tolist()}
            )
        with self._talking():
            self._client.upsert(self.location.name, records, timeout=self._long_timeout)

    def delete(self, ids: Sequence[str], from_part: int = 0) -> None:
        with self._talking():
            for identifier in ids:
                wanted = f"id == {json.dumps(identifier, ensure_ascii=False)} and part >= {from_part}"
                self._client.delete(self.location.name, filter=wanted, timeout=self._long_timeout)

    def search(self, query: np.ndarray, k: int, condition: Condition | None) -> list[tuple[float, StoredRow]]:
        parameters = {"ef": max(k, 128)} if self._index == "HNSW" else {}
        with self._talking():
            (hits,) = self._client.search(
                self.location.name,
                data=[query.tolist()],
                limit=min(k, _MOST),
                filter="" if condition is None else milvus_filter(condition),
                output_fields=_COLUMNS,
                search_params={"metric_type": "IP", "params": parameters},
                consistency_level=self._consistency,
                timeout=self._timeout,
            )
        return [(float(hit["distance"]), _row(hit["entity"])) for hit in hits]

    def fetch(self, keys: Sequence[int]) -> list[StoredRow]:
        with self._talking():
            records = self._client.get(
                self.location.name, ids=list(keys), output_fields=_COLUMNS, timeout=self._timeout
            )
        return [_row(record) for record in records]

    def scan(self) -> Iterator[StoredRow]:
        with self._talking():
            pages = self._client.query_iterator(
                self.location.name, batch_size=1000, filter="part == 0", output_fields=_COLUMNS, timeout=self._timeout
            )
        while True:
            with self._talking():
                records = pages.next()
            if not records:
                return
            yield from map(_row, records)

    def close(self) -> None:
        with self._talking():
            self._client.close()
        if self.location.folder is not None and _users.release(self.location.folder):
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(os.path.abspath(self.location.folder))

    @contextmanager
    def _talking(self) -> Iterator[None]:
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            told = error.details() if isinstance(error, grpc.Call) else str(error)
            reason = (str(told).strip() or type(error).__name__).splitlines()[0]
            raise StoreError(
                f"{self.location}: Milvus refuses or does not answer ({reason}): see that the server runs, and that "
                "user and password are right"
            ) from error


def _row(record: Mapping[str, Any]) -> StoredRow:
    return StoredRow.of({**record, "sentences": record["sentences"]["value"], "meta": record["meta"]["value"]})
