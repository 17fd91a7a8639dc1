"""
How long do the candidates of a mention take in a catalogue of a million names?

```
python -m benchmarks.linking_catalogue --entities 1000000
```

Embeddings are drawn around a thousand centres, as those of entities lie in groups. They are searched in an inverted
file (exact search, `--factories Flat`, reads 2.3 GB per text): single mentions, all mentions of a text at once, and
these with the priors of an alias table.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks import RESULTS
from benchmarks.report import result_name, write_result
from onegen_hf import Passage, PassageIndex
from onegen_hf.index import ModelFingerprint
from onegen_hf.index.backends.faiss import FaissBackend, build_faiss
from onegen_hf.linking.aliases import AliasTable
from onegen_hf.linking.entities import EntityPriors, link_mentions

MENTIONS = 20
"""Of a text."""
CHUNK = 50_000
"""Vectors drawn at a time."""


class Names(Sequence[Passage]):
    """Entities with made-up names, each generated when it is accessed."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __len__(self) -> int:
        return self._number

    def __getitem__(self, row: Any) -> Any:
        if not 0 <= row < self._number:
            raise IndexError(row)
        return Passage(f"E{row}", name_of(row), "", ())


def name_of(row: int) -> str:
    """Every seven entities share a name."""
    return f"Name {row // 7:x}"


def vectors_of(entities: int, dimension: int) -> np.ndarray:
    """Unit vectors in groups, as those of entities are, of shape `(entities, dimension)`."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((1000, dimension), dtype=np.float32)
    vectors = np.empty((entities, dimension), np.float32)
    for start in range(0, entities, CHUNK):
        chunk = vectors[start : start + CHUNK]
        generator.standard_normal(out=chunk, dtype=np.float32)
        chunk *= 0.7
        chunk += centres[generator.integers(1000, size=len(chunk))]
        chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)
    return vectors


def milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """The median time of a call, the first one left out."""
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return round(1000 * float(np.median(taken)), 3)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the seconds that it took."""
    start = time.perf_counter()
    result = call()
    return result, round(time.perf_counter() - start, 1)


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=576)
    parser.add_argument("--factories", nargs="+", default=["IVF512,SQ8"])
    parser.add_argument("--nprobe", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--name", default="linking_catalogue", help="Name of the result file.")
    parser.add_argument("--quick", action="store_true", help="Two thousand entities.")
    options = parser.parse_args()
    if options.quick:
        options.entities, options.dimension, options.factories, options.repeats = 2000, 32, ["Flat", "IVF16,SQ8"], 3
        options.name = result_name(options.name, quick=True)
    names, vectors = Names(options.entities), vectors_of(options.entities, options.dimension)
    rows = np.random.default_rng(1).integers(options.entities, size=MENTIONS)
    surfaces = [name_of(int(row)) for row in rows]
    text = " ".join(surfaces)
    ends = np.cumsum([len(surface) + 1 for surface in surfaces]) - 1
    spans = [(int(end) - len(surface), int(end)) for end, surface in zip(ends, surfaces, strict=True)]
    queries = torch.from_numpy(vectors[rows])

    def fill() -> AliasTable:
        table = AliasTable()
        table.add_documents({"id": one.id, "title": one.title} for one in names)
        return table

    before = psutil.Process().memory_info().rss
    table, seconds = timed(fill)
    result: dict[str, Any] = {
        "question": "How long do the candidates of a mention take in a catalogue of a million names?",
        "entities": options.entities,
        "dimension": options.dimension,
        "aliases": {
            "seconds_to_fill": seconds,
            "gib": round((psutil.Process().memory_info().rss - before) / 2**30, 2),
            "milliseconds_per_lookup": milliseconds(lambda: table.priors(surfaces[0]), options.repeats),
        },
        "search": {},
    }
    for factory in options.factories:
        print(f"building {factory}", file=sys.stderr, flush=True)
        built, seconds = timed(partial(build_faiss, vectors, factory))
        fingerprint = ModelFingerprint({}, np.zeros((4, options.dimension), np.float32))
        index = PassageIndex(names, FaissBackend.of(built, factory), np.ones(options.entities, np.int64), fingerprint)
        if factory.startswith("IVF"):
            index.set_search_parameters(nprobe=options.nprobe)
        priors, seconds_for_priors = timed(partial(EntityPriors, table, index))
        link = partial(link_mentions, index, text)
        calls = {
            "one_mention": (partial(link, spans[:1], queries[:1]), 1),
            "of_a_text": (partial(link, spans, queries), MENTIONS),
            "of_a_text_with_priors": (partial(link, spans, queries, priors=priors, prior_weight=0.1), MENTIONS),
        }
        found = index.search(queries, 1)[1][:, 0]
        result["search"][factory] = {
            "seconds_to_build": seconds,
            "seconds_to_read_the_ids": seconds_for_priors,
            "milliseconds_per_mention": {
                name: round(milliseconds(call, options.repeats) / mentions, 3)
                for name, (call, mentions) in calls.items()
            },
            "share_that_finds_itself": round(float((found == rows).mean()), 3),
        }
        del built, index, priors, link, calls
    result["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
    write_result(RESULTS / f"{options.name}.json", result)


if __name__ == "__main__":
    main()
