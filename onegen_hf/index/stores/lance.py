"""`LanceStore`: passages in a Lance dataset, a folder that is searched without being read as a whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...filters import Condition
from ...importing.extras import require
from .base import PassageStore, StoredRow, StoreError
from .lance_filter import fact_columns, lance_filter, literal
from .location import StoreLocation

_PROPERTIES = "onegen"
_COLUMNS = ["id", "part", "title", "text", "sentences", "meta"]
_TYPES = {"float32": pa.float32(), "float16": pa.float16()}
_JSON = pa.json_(pa.string())
_PAGE = 1024


class LanceStore(PassageStore):
    """
    A Lance dataset in a local folder.

    Every write makes a new version of the dataset, and a search sees the newest one: readers and a writer do not wait
    for each other. A search compares all vectors.

    Args:
        location ([`StoreLocation`])
    """

    scheme = "lance"
    precisions = ("float32", "float16")
    batch_size = 4096

    def __init__(self, location: StoreLocation) -> None:
        super().__init__(location)
        require("lance", "lance", f"An index at {location.scheme}://")
        if location.folder is None:
            raise ValueError(
                f"{location}: Lance datasets are local folders here: write lance://./folder/{location.name}"
            )
        import lance

        location.require_options()
        self._path = Path(location.folder) / f"{location.name}.lance"
        self._session = lance.Session()

    def properties(self) -> dict[str, Any] | None:
        if not self._path.is_dir():
            return None
        with self._talking() as dataset:
            metadata = dataset.schema.metadata or {}
        return dict(json.loads(metadata.get(_PROPERTIES.encode(), b"{}")))

    def set_properties(self, properties: Mapping[str, Any]) -> None:
        with self._talking() as dataset:
            dataset.update_schema_metadata({_PROPERTIES: json.dumps(properties)})

    def create(self, properties: Mapping[str, Any], size: int, precision: str) -> None:
        import lance

        schema = _schema(pa.list_(_TYPES[precision], size))
        with self._errors():
            os.makedirs(self._path.parent, exist_ok=True)
            empty = schema.with_metadata({_PROPERTIES: json.dumps(properties)}).empty_table()
            lance.write_dataset(empty, str(self._path), mode="create")

    def drop(self) -> None:
        shutil.rmtree(self._path)

    def count(self, passages: bool = False) -> int:
        with self._talking() as dataset:
            return int(dataset.count_rows(filter="part = 0" if passages else None))

    def upsert(self, rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
        with self._talking() as dataset:
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
        with self._talking() as dataset:
            dataset.delete(f"id IN ({', '.join(map(literal, ids))}) AND part >= {from_part}")

    def search(self, query: np.ndarray, k: int, condition: Condition | None) -> list[tuple[float, StoredRow]]:
        where = None if condition is None else lance_filter(condition)
        with self._talking() as dataset:
            kind = dataset.schema.field("vector").type.value_type.to_pandas_dtype()
            table = dataset.to_table(
                columns=[*_COLUMNS, "_distance"],
                nearest={"column": "vector", "q": query.astype(kind), "k": k, "metric": "dot"},
                filter=where,
                prefilter=True,
            )
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

    @contextmanager
    def _talking(self) -> Iterator[Any]:
        """The newest version of the dataset; the session keeps what is read of its files."""
        import lance

        with self._errors():
            yield lance.dataset(str(self._path), session=self._session)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = str(error).splitlines()[0]
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
