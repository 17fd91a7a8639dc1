"""`LanceStore`: passages in a Lance dataset, searched without being read as a whole, here or on the Hub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...filters import Condition
from ...importing.extras import require
from .base import PassageStore, StoredRow, StoreError
from .lance_filter import fact_columns, lance_filter, literal
from .lance_place import LanceFolder, files_of, place_of
from .location import StoreLocation

_PROPERTIES = "onegen"
_COLUMNS = ["id", "part", "title", "text", "sentences", "meta"]
_TYPES = {"float32": pa.float32(), "float16": pa.float16()}
_JSON = pa.json_(pa.string())
_PAGE = 1024
_LANCE = "LanceError"
_INDEXES = ("IVF_FLAT", "IVF_PQ")
_LEAST_ROWS, _ROWS_PER_CLUSTER = 1024, 256
"""Below so many rows there is no index of clusters, and how many Lance trains a cluster on."""
_CLUSTERS_SEARCHED, _REFINED = 16, 32
"""How many clusters a search looks into at least, and how many times `k` candidates are compared exactly."""


class LanceStore(PassageStore):
    """
    A Lance dataset in a local folder (`lance://`) or in a dataset repository of the Hub (`hf://`), which is only
    searched.

    Every write makes a new version of the dataset, and a search sees the newest one: readers and a writer do not wait
    for each other. A search compares all vectors, unless an index of clusters is asked for where it is built.

    Args:
        location ([`StoreLocation`]): Option: `index=IVF_FLAT` or `index=IVF_PQ`.
    """

    scheme = "lance"
    precisions = ("float32", "float16")
    batch_size = 4096

    def __init__(self, location: StoreLocation) -> None:
        super().__init__(location)
        require("lance", "lance", f"An index at {location.scheme}://")
        location.require_options("index")
        self._kind = location.options.get("index", "").upper()
        if self._kind not in ("", *_INDEXES):
            raise ValueError(
                f"{location}: index={self._kind!r} is unknown: choose one of {', '.join(_INDEXES)}, or leave it out "
                "for an exact search"
            )
        with self._errors():
            self._place = place_of(location)

    @property
    def read_only(self) -> bool:
        return self._place.read_only

    def properties(self) -> dict[str, Any] | None:
        if not self._place.exists():
            return None
        with self._talking() as dataset:
            metadata = dataset.schema.metadata or {}
        return dict(json.loads(metadata.get(_PROPERTIES.encode(), b"{}")))

    def set_properties(self, properties: Mapping[str, Any]) -> None:
        with self._changing() as dataset:
            dataset.update_schema_metadata({_PROPERTIES: json.dumps(properties)})

    def create(self, properties: Mapping[str, Any], size: int, precision: str) -> None:
        import lance

        path = self._folder.path
        schema = _schema(pa.list_(_TYPES[precision], size))
        with self._errors():
            os.makedirs(path.parent, exist_ok=True)
            empty = schema.with_metadata({_PROPERTIES: json.dumps(properties)}).empty_table()
            lance.write_dataset(empty, str(path), mode="create")

    def finish(self) -> None:
        """Make the index of clusters, and drop the versions that the batches have left."""
        # The pieces of the batches are not joined: a search that compares all vectors takes three times as long then.
        with self._changing() as dataset:
            rows = dataset.count_rows()
            if self._kind and rows >= _LEAST_ROWS:
                size = dataset.schema.field("vector").type.list_size
                parts = max(part for part in range(1, size // 8 + 2) if size % part == 0)
                codes = {"num_sub_vectors": parts} if self._kind == "IVF_PQ" else {}
                clusters = min(int(4 * rows**0.5), rows // _ROWS_PER_CLUSTER)
                dataset.create_index("vector", self._kind, metric="dot", num_partitions=clusters, **codes)
            dataset.cleanup_old_versions(older_than=timedelta(0))  # nobody reads a first build before it is complete

    def files(self) -> tuple[Path, list[str]]:
        folder = self._folder.path
        with self._talking() as dataset:
            names = files_of(dataset, folder)
        return folder.parent, [f"{folder.name}/{name}" for name in names]

    def drop(self) -> None:
        self._folder.drop()

    def count(self, passages: bool = False) -> int:
        with self._talking() as dataset:
            return int(dataset.count_rows(filter="part = 0" if passages else None))

    def upsert(self, rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
        with self._changing() as dataset:
            kind = dataset.schema.field("vector").type
            records = [row.columns() for row in rows]
            known = [fact_columns(record["meta"]) for record in records]
            columns = [
                pa.array([row.key for row in rows], pa.int64()),
                *([record[name] for record in records] for name in ("id", "part", "title", "text")),
                [json.dumps(record["sentences"], ensure_ascii=False) for record in records],
                [
                    None if record["meta"] is None else json.dumps(record["meta"], ensure_ascii=False)
                    for record in records
                ],
                [words for words, _ in known],
                pa.ExtensionArray.from_storage(
                    _JSON, pa.array([json.dumps(bounds) for _, bounds in known], pa.string())
                ),
                pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors.astype(kind.value_type.to_pandas_dtype()).ravel()), kind.list_size
                ),
            ]
            table = pa.table(columns, schema=_schema(kind))
            dataset.merge_insert("row").when_matched_update_all().when_not_matched_insert_all().execute(table)

    def delete(self, ids: Sequence[str], from_part: int = 0) -> None:
        with self._changing() as dataset:
            dataset.delete(f"id IN ({', '.join(map(literal, ids))}) AND part >= {from_part}")

    def search(self, query: np.ndarray, k: int, condition: Condition | None) -> list[tuple[float, StoredRow]]:
        where = None if condition is None else lance_filter(condition)
        with self._talking() as dataset:
            kind = dataset.schema.field("vector").type.value_type.to_pandas_dtype()
            nearest = {"column": "vector", "q": query.astype(kind), "k": k, "metric": "dot"}
            if dataset.list_indices():
                nearest |= {"minimum_nprobes": _CLUSTERS_SEARCHED, "refine_factor": _REFINED}
            table = dataset.to_table(columns=[*_COLUMNS, "_distance"], nearest=nearest, filter=where, prefilter=True)
        # The distance is 1 - inner product.
        return [(1.0 - record["_distance"], _row(record)) for record in table.to_pylist()]

    def fetch(self, keys: Sequence[int]) -> list[StoredRow]:
        with self._talking() as dataset:
            table = dataset.to_table(columns=_COLUMNS, filter=f"row IN ({', '.join(map(str, keys))})")
        return list(map(_row, table.to_pylist()))

    def scan(self) -> Iterator[StoredRow]:
        with self._talking() as dataset:
            scanner = dataset.scanner(columns=_COLUMNS, filter="part = 0", batch_size=_PAGE, scan_in_order=True)
            for batch in scanner.to_batches():
                yield from map(_row, batch.to_pylist())

    @property
    def _folder(self) -> LanceFolder:
        if not isinstance(self._place, LanceFolder):
            raise ValueError(
                f"{self.location}: a repository of the Hub is only searched: change the dataset where it was built, "
                "and push it again"
            )
        return self._place

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        with self._errors():
            yield self._place.open()

    @contextmanager
    def _changing(self) -> Iterator[Any]:
        folder = self._folder
        with self._errors():
            yield folder.open()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            # Lance reports a fault of the Hub as a ValueError.
            if isinstance(error, StoreError) or (isinstance(error, ValueError) and _LANCE not in str(error)):
                raise
            reason = " ".join(str(error).split())[:300]
            raise StoreError(f"{self.location}: the dataset cannot be read or written ({reason})") from error


def _schema(vector: pa.DataType) -> pa.Schema:
    texts = [(name, pa.string()) for name in ("title", "text", "sentences", "meta")]
    known = [("facts", pa.list_(pa.string())), ("bounds", _JSON)]
    return pa.schema(
        [("row", pa.int64()), ("id", pa.string()), ("part", pa.int32()), *texts, *known, ("vector", vector)]
    )


def _row(record: Mapping[str, Any]) -> StoredRow:
    meta = None if record["meta"] is None else json.loads(record["meta"])
    return StoredRow.of({**record, "sentences": json.loads(record["sentences"]), "meta": meta})
