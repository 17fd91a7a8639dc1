"""
What do the index types cost and find: Flat, HNSW and IVF-PQ at ten thousand, a hundred thousand and a million vectors?

```
python -m benchmarks.index_types
```

The vectors are made up: of unit length, scattered around as many centres as there are topics, one for every hundred
vectors. Queries are vectors of the index with noise, as a question lies near its passage. `recall@1` is the share of
queries whose best row is the one that the exact search of Flat finds. Queries are searched one by one, as in decoding,
on one thread; building uses all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks import RESULTS
from benchmarks.plot import Panel, plot_lines
from benchmarks.report import result_name, write_result
from onegen_hf.index.backends.faiss import build_faiss, read_parameters
from onegen_hf.index.backends.faiss_installation import import_faiss

NAME = "index_types"
KINDS = ("Flat", "HNSW", "IVF-PQ")
DEFAULT_SIZES = (10_000, 100_000, 1_000_000)
PER_TOPIC = 100


def factory_of(kind: str, vectors: int, dimension: int) -> str:
    """FAISS's name for a kind of index, with as many clusters as its documentation advises for that many vectors."""
    if kind == "IVF-PQ":
        clusters = 2 ** round(np.log2(4 * sqrt(vectors)))
        return f"IVF{clusters},PQ{dimension // 9}np"
    return {"Flat": "Flat", "HNSW": "HNSW32"}[kind]


def make_vectors(
    vectors: int, queries: int, dimension: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """
    Clustered vectors, and queries near some of them.

    Args:
        vectors, queries, dimension (`int`)
        noise (`float`): Length of what tells a query from its vector, which has length 1.
        seed (`int`, *optional*, defaults to 0)

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Of shapes `(vectors, dimension)` and `(queries, dimension)`, float32, of unit
        length.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, vectors // PER_TOPIC), dimension), np.float32)
    found = rng.standard_normal((vectors, dimension), np.float32)
    found += centres[rng.integers(len(centres), size=vectors)]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    asked = found[rng.integers(vectors, size=queries)]
    asked = asked + noise / sqrt(dimension) * rng.standard_normal(asked.shape, np.float32)
    return found, asked / np.linalg.norm(asked, axis=1, keepdims=True)


def search_one_by_one(index: Any, queries: np.ndarray) -> tuple[np.ndarray, float]:
    """The best row of each query, and milliseconds per query."""
    faiss = import_faiss()
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        index.search(queries[:1], 1)
        start = time.perf_counter()
        rows = [index.search(query[None], 1)[1][0, 0] for query in queries]
        return np.asarray(rows), 1000 * (time.perf_counter() - start) / len(queries)
    finally:
        faiss.omp_set_num_threads(threads)


def file_bytes(index: Any) -> int:
    """Size of the index file."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "index.faiss"
        import_faiss().write_index(index, str(path))
        return path.stat().st_size


def measure(vectors: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each kind of index over the same vectors."""
    embeddings, queries = make_vectors(vectors, options.queries, options.dimension, options.noise)
    exact: np.ndarray | None = None
    rows = []
    for kind in options.kinds:
        factory = factory_of(kind, vectors, options.dimension)
        start = time.perf_counter()
        index = build_faiss(embeddings, factory)
        built = time.perf_counter() - start
        best, milliseconds = search_one_by_one(index, queries)
        exact = best if exact is None else exact
        rows.append(
            {
                "vectors": vectors,
                "kind": kind,
                "factory": factory,
                "search_parameters": {k: v for k, v in read_parameters(index).items() if k in ("nprobe", "efSearch")},
                "recall_at_1": round(float((best == exact).mean()), 4),
                "ms_per_query": round(milliseconds, 4),
                "bytes_per_vector": round(file_bytes(index) / vectors, 1),
                "build_seconds": round(built, 2),
            }
        )
        del index  # a million vectors take 2 GiB
    return rows


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DEFAULT_SIZES), help="numbers of vectors")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--dimension", type=int, default=576, help="a multiple of 9; SmolLM2-135M has 576")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--noise", type=float, default=0.5, help="length of the noise on a query of unit length")
    parser.add_argument("--quick", action="store_true", help="few and short vectors, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.dimension, options.queries = [1_000, 3_000], 72, 100
    if options.kinds[0] != "Flat":
        parser.error(f"--kinds {' '.join(options.kinds)}: Flat comes first, the others are compared with it")
    if options.dimension % 9:
        parser.error(
            f"--dimension {options.dimension} must be a multiple of 9: product quantisation takes 9 numbers together"
        )
    return options


def panels(rows: Sequence[dict[str, Any]]) -> list[Panel]:
    """Recall, time and size over the number of vectors."""
    shown = {"recall_at_1": "recall@1", "ms_per_query": "ms per query", "bytes_per_vector": "bytes per vector"}
    kinds = dict.fromkeys(row["kind"] for row in rows)
    return [
        Panel(
            label,
            "vectors",
            label,
            {kind: {row["vectors"]: row[name] for row in rows if row["kind"] == kind} for kind in kinds},
            log_x=True,
            log_y=name != "recall_at_1",
        )
        for name, label in shown.items()
    ]


def main() -> None:
    """Run the measurement."""
    options = parse()
    import_faiss().omp_set_num_threads(torch.get_num_threads())
    start = time.perf_counter()
    rows = [row for vectors in sorted(options.sizes) for row in measure(vectors, options)]
    name = result_name(NAME, options.quick)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "What do the index types cost and find?",
            "dimension": options.dimension,
            "queries": options.queries,
            "noise": options.noise,
            "indexes": rows,
            "seconds": round(time.perf_counter() - start, 1),
        },
    )
    plot_lines(RESULTS / f"{name}.svg", *panels(rows))


if __name__ == "__main__":
    main()
