"""`PostgresStore`: passages in a PostgreSQL table, searched with pgvector."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...checks import shown
from ...data.passages import Passage
from ...filters import Condition
from ...importing.extras import require
from .base import PassageStore, StoredRow, StoreError
from .json_path import sql_condition
from .location import StoreLocation
from .postgres_connections import PostgresConnections, send_vectors

_WRITTEN = {
    "row": "int8", "id": "text", "part": "int4", "title": "text", "text": "text", "sentences": "jsonb",
    "meta": "jsonb", "embedding": "vector",
}  # fmt: skip
"""Columns that are written, and their types."""
_READ = tuple(_WRITTEN)[1:-1]
_COLUMNS = ", ".join(_READ)
_TYPES = {"float32": "vector", "float16": "halfvec", "binary": "vector"}
_BYTES = {"float32": 4, "float16": 2, "binary": 4}
_MOST_IN_A_ROW = 7000
"""Bytes of a vector that a page of 8 KiB has room for, beside what else a row holds."""
OVERSAMPLING, LEAST_CANDIDATES = 8, 128
"""How many times `k` candidates by bits are compared again as float32, and how many at least."""
OF_A_GRAPH = 4
"""How many times `k` passages a graph yields behind a filter. With a thousandth of 40,000 left, four held the best for
0.85 of the queries; the first in pgvector's strict order was the best for 0.60."""
_SECONDS_PER_BATCH = 60
_SECONDS_FOR_A_GRAPH = 24 * 3600
"""Also for reading all passages."""


class PostgresStore(PassageStore):
    """
    A table of a PostgreSQL database with the extension `vector` (pgvector).

    A write is one transaction. A search compares all vectors, unless an HNSW graph is asked for. With the precision
    `"binary"` it compares the signs of the numbers first, and the best candidates again as float32.

    Args:
        location ([`StoreLocation`]): Options: `index=hnsw`; others go to the client, such as `sslmode=require`.
    """

    scheme = "postgresql"
    precisions = ("float32", "float16", "binary")

    def __init__(self, location: StoreLocation) -> None:
        super().__init__(location)
        for package in ("psycopg", "pgvector"):
            require(package, "postgres", f"An index at {location.scheme}://")
        from psycopg import sql

        self._sql = sql
        self._table = sql.Identifier(location.name)
        self._graph = location.options.get("index")
        if self._graph not in (None, "hnsw"):
            raise ValueError(
                f"{location}: index={self._graph!r} is unknown: choose 'hnsw', or leave it out for an exact search"
            )
        self._connections = PostgresConnections(location)
        self._transaction = self._connections.transaction
        self._kind: tuple[str, int] | None = None
        with self._transaction() as connection:
            connection.execute("SELECT 1")

    def properties(self) -> dict[str, Any] | None:
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT obj_description(to_regclass(%s), 'pg_class'), to_regclass(%s) IS NOT NULL",
                [f'"{self.location.name}"'] * 2,
            ).fetchone()
        if not row[1]:
            return None
        try:
            properties = json.loads(row[0] or "{}")
        except ValueError:
            properties = {}
        return properties if isinstance(properties, dict) else {}

    def set_properties(self, properties: Mapping[str, Any]) -> None:
        with self._transaction() as connection:
            self._comment(connection, properties)

    def create(self, properties: Mapping[str, Any], size: int, precision: str) -> None:
        bits = (
            f", bits bit({size}) GENERATED ALWAYS AS (binary_quantize(embedding)) STORED"
            if precision == "binary"
            else ""
        )
        with self._transaction() as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(
                self._statement(
                    "CREATE TABLE {table} (row bigint PRIMARY KEY, id text NOT NULL, part int NOT NULL, "
                    "title text NOT NULL, text text NOT NULL, sentences jsonb NOT NULL, meta jsonb, "
                    f"embedding {_TYPES[precision]}({size}) NOT NULL{bits})"
                )
            )
            # What a search reads of every row stays in the row: getting it from a table of its own takes longer than
            # comparing. Beside a long vector, PostgreSQL moves even short values there.
            storage = {"meta": "MAIN"}
            if size * _BYTES[precision] <= _MOST_IN_A_ROW:
                storage["embedding"] = "PLAIN"
            if precision == "binary":
                storage["bits"] = "PLAIN"
            for column, kind in storage.items():
                connection.execute(self._statement(f"ALTER TABLE {{table}} ALTER COLUMN {column} SET STORAGE {kind}"))
            # A tree has no room for long ids.
            connection.execute(self._statement("CREATE INDEX ON {table} USING hash (id)"))
            self._comment(connection, properties)

    def drop(self) -> None:
        with self._transaction() as connection:
            connection.execute(self._statement("DROP TABLE {table}"))
        self._kind = None

    def finish(self) -> None:
        if self._graph is None:
            return
        kind, _ = self._stored_kind()
        with self._transaction(_SECONDS_FOR_A_GRAPH) as connection:
            if kind == "bits":
                connection.execute(self._statement("CREATE INDEX ON {table} USING hnsw (bits bit_hamming_ops)"))
            else:
                connection.execute(self._statement(f"CREATE INDEX ON {{table}} USING hnsw (embedding {kind}_ip_ops)"))

    def count(self, passages: bool = False) -> int:
        with self._transaction() as connection:
            condition = " WHERE part = 0" if passages else ""
            return int(connection.execute(self._statement("SELECT count(*) FROM {table}" + condition)).fetchone()[0])

    def check_passage(self, passage: Passage) -> None:
        if "\\u0000" in json.dumps(StoredRow(passage, 0).columns()):
            raise ValueError(
                f"passage {shown(passage.id)} holds a null character, which PostgreSQL cannot store: remove it"
            )

    def upsert(self, rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
        kind = self._stored_kind()[0].replace("bits", "vector")
        names = list(_WRITTEN)
        # An array per column, in binary: as fast as COPY, which knows no conflicts.
        statement = self._statement(
            f"INSERT INTO {{table}} ({', '.join(names)}) SELECT {', '.join(names[:-1])}, embedding::{kind} "
            f"FROM unnest({', '.join(f'%b::{type}[]' for type in _WRITTEN.values())}) AS written ({', '.join(names)}) "
            f"ON CONFLICT (row) DO UPDATE SET {', '.join(f'{name} = EXCLUDED.{name}' for name in names[1:])}"
        )
        values = [_values(row, vector) for row, vector in zip(rows, vectors, strict=True)]
        with self._transaction(max(self._connections.timeout, _SECONDS_PER_BATCH)) as connection:
            send_vectors(connection)
            connection.execute(statement, [list(column) for column in zip(*values, strict=True)])

    def delete(self, ids: Sequence[str], from_part: int = 0) -> None:
        with self._transaction() as connection:
            connection.execute(
                self._statement("DELETE FROM {table} WHERE id = ANY(%s) AND part >= %s"), [list(ids), from_part]
            )

    def search(self, query: np.ndarray, k: int, condition: Condition | None) -> list[tuple[float, StoredRow]]:
        kind, _ = self._stored_kind()
        paths: list[str] = []

        def exists(path: str) -> str:
            paths.append(path)
            return "coalesce(jsonb_path_exists(meta, %s::jsonpath), false)"

        where = "" if condition is None else f"WHERE {sql_condition(condition, exists)}"
        cast = kind.replace("bits", "vector")
        source, values = "{table} " + where, list[Any](paths)
        if kind == "bits":
            source = (
                f"(SELECT {_COLUMNS}, embedding FROM {{table}} {where} "
                "ORDER BY bits <~> binary_quantize(%s::vector) LIMIT %s) AS candidates"
            )
            values += [query, max(k * OVERSAMPLING, LEAST_CANDIDATES)]
        elif self._graph is not None:
            # What a graph yields in the end is only about in order, the more so behind a filter.
            source = (
                f"(SELECT {_COLUMNS}, embedding FROM {{table}} {where} ORDER BY embedding <#> %s::{cast} LIMIT %s) "
                "AS candidates"
            )
            values += [query, k if condition is None else k * OF_A_GRAPH]
        # `<#>` is the negative inner product.
        statement = self._statement(
            f"SELECT -(embedding <#> %s::{cast}), {_COLUMNS} FROM {source} ORDER BY embedding <#> %s::{cast} LIMIT %s"
        )
        with self._transaction() as connection:
            send_vectors(connection)
            if self._graph is not None:
                connection.execute("SET LOCAL hnsw.ef_search = 200")
                connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
            records = connection.execute(statement, [query, *values, query, k]).fetchall()
        return [(float(score), _row(columns)) for score, *columns in records]

    def fetch(self, keys: Sequence[int]) -> list[StoredRow]:
        with self._transaction() as connection:
            statement = self._statement(f"SELECT {_COLUMNS} FROM {{table}} WHERE row = ANY(%s)")
            return [_row(columns) for columns in connection.execute(statement, [list(keys)]).fetchall()]

    def scan(self) -> Iterator[StoredRow]:
        statement = self._statement(f"SELECT {_COLUMNS} FROM {{table}} WHERE part = 0 ORDER BY row")
        with self._transaction(_SECONDS_FOR_A_GRAPH) as connection, connection.cursor("scan") as cursor:
            yield from map(_row, cursor.execute(statement))

    def stored_bytes(self) -> int:
        """What the table takes on the server's disk, with its indexes."""
        with self._transaction() as connection:
            row = connection.execute("SELECT pg_total_relation_size(to_regclass(%s))", [f'"{self.location.name}"'])
            return int(row.fetchone()[0])

    def close(self) -> None:
        self._connections.close()

    def _stored_kind(self) -> tuple[str, int]:
        """How the vectors of the table are kept (`vector`, `halfvec`, or `bits` beside vectors), and their size."""
        if self._kind is None:
            with self._transaction() as connection:
                rows = connection.execute(
                    "SELECT attname, format_type(atttypid, atttypmod), atttypmod FROM pg_attribute "
                    "WHERE attrelid = to_regclass(%s) AND attname IN ('embedding', 'bits')",
                    [f'"{self.location.name}"'],
                ).fetchall()
            columns = {name: (kind.partition("(")[0], size) for name, kind, size in rows}
            if "embedding" not in columns:
                raise StoreError(f"{self.location}: the table is gone, or was not made by this package")
            kind, size = columns["embedding"]
            self._kind = ("bits" if "bits" in columns else kind.rpartition(".")[2], size)
        return self._kind

    def _statement(self, text: str) -> Any:
        return self._sql.SQL(text).format(table=self._table)

    def _comment(self, connection: Any, properties: Mapping[str, Any]) -> None:
        text = self._sql.Literal(json.dumps(properties))
        connection.execute(self._sql.SQL("COMMENT ON TABLE {} IS {}").format(self._table, text))


def _values(row: StoredRow, vector: np.ndarray) -> list[Any]:
    """What [`_WRITTEN`] names, of one row."""
    from psycopg.types.json import Jsonb

    columns = row.columns()
    columns["sentences"] = Jsonb(columns["sentences"])
    columns["meta"] = None if columns["meta"] is None else Jsonb(columns["meta"])
    return [row.key, *(columns[name] for name in _READ), vector]


def _row(columns: Sequence[Any]) -> StoredRow:
    return StoredRow.of(dict(zip(_READ, columns, strict=True)))
