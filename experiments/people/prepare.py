"""
Dataset repositories → token ids, ready for both stages and for the measurement of recall.

```
python -m experiments.people.prepare --repositories data --model onegen_hf/default_checkpoint --out data/people_tokens
```

`--repositories` holds one folder per data set, as `recipes/people_1.yaml` says how to build them. Written are
`retrieval.parquet` and `joint.parquet` (encoded examples), `documents.parquet` (the passages that they refer to, and
the corpora of the development splits) and `development.parquet` (questions cut off at their query tokens).
"""

from __future__ import annotations

import logging
import random
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets
from transformers import AutoConfig

from data_builders.documents import Document
from data_builders.unanswerable import with_unanswerable
from onegen_hf import OneGenConfig, OneGenDataCollator
from onegen_hf.data.loading import load_documents, load_examples
from onegen_hf.modeling.tokenizers import load_tokenizer

from .mixture import FAMILIES, JOINT, RETRIEVAL, Share

logger = logging.getLogger(__name__)


def chosen(examples: Dataset, share: Share, rng: random.Random) -> list[int]:
    """The rows of a data set that a stage sees, drawn without replacement and repeated."""
    rows = list(range(len(examples)))
    if share.limit is not None and len(rows) > share.limit:
        rows = rng.sample(rows, share.limit)
    return rows * share.times


def cut_after_query(encoded: dict[str, Any]) -> dict[str, Any]:
    """An encoded example up to its first query token: a pair of a question and its passage."""
    end = encoded["query_positions"][0] + 1
    return {
        "input_ids": encoded["input_ids"][:end],
        "labels": encoded["labels"][:end],
        "query_positions": encoded["query_positions"][:1],
        "positives": encoded["positives"][:1],
        "negatives": encoded["negatives"][:1],
        "queries": encoded["queries"][:1],
        "length": end,
    }


def prefixed(name: str, identifier: str) -> str:
    """An id that is unique among all data sets, whether or not its repository was built with `--id_prefix`."""
    return identifier if identifier.startswith(f"{name}-") else f"{name}-{identifier}"


def with_prefix(name: str, lists: list[list[str]]) -> list[list[str]]:
    """References per query token, prefixed."""
    return [[prefixed(name, identifier) for identifier in references] for references in lists]


def encoded_stage(
    repositories: Path,
    stage: dict[str, Share],
    collator: OneGenDataCollator,
    pairs_only: bool,
    seed: int,
    unanswerable_share: float = 0.0,
) -> Iterator[dict[str, Any]]:
    """
    The encoded examples of a stage.

    Args:
        repositories (`Path`): A folder per data set.
        stage (`dict[str, Share]`): What it sees.
        collator ([`OneGenDataCollator`]): Encodes.
        pairs_only (`bool`): Leave out what follows the first query token.
        seed (`int`)
        unanswerable_share (`float`, *optional*, defaults to 0.0): Of the questions with one hop, see
            [`with_unanswerable`].
    """
    rng = random.Random(seed)
    for name, share in stage.items():
        examples = load_examples(repositories / name)
        rows = chosen(examples, share, rng)
        logger.info("%s: %d of %d examples", name, len(rows), len(examples))
        store = passages_of(repositories / name) if unanswerable_share else {}
        cache: dict[int, dict[str, Any]] = {}
        for row in rows:
            if row not in cache:
                (example,) = with_unanswerable([examples[row]], store, unanswerable_share, seed)
                encoded = collator.encode_example(example)
                encoded |= {column: with_prefix(name, encoded[column]) for column in ("positives", "negatives")}
                cache[row] = cut_after_query(encoded) if pairs_only else encoded
            yield {"family": name, **cache[row]}


def passages_of(repository: Path) -> dict[str, Document]:
    """The passages of a repository by their ids."""
    corpus = load_documents(repository)
    return {row["id"]: Document(row["id"], row["title"], tuple(row["sentences"])) for row in corpus}


def development(repositories: Path, collator: OneGenDataCollator) -> Iterator[dict[str, Any]]:
    """The development questions of each family, up to their last query token."""
    for name in FAMILIES:
        for example in load_examples(repositories / name, "dev"):
            encoded = collator.encode_example(example)
            end = encoded["query_positions"][-1] + 1
            yield {
                "family": name,
                "question": example["question"],
                "answers": example["answers"],
                "input_ids": encoded["input_ids"][:end],
                "query_positions": encoded["query_positions"],
                "positives": with_prefix(name, encoded["positives"]),
            }


def documents_for(repositories: Path, names: Iterable[str], referred: set[str]) -> Dataset:
    """All passages of the families that are measured, and of the others those that examples refer to."""
    parts = []
    for name in names:
        corpus = load_documents(repositories / name)
        ids = [prefixed(name, identifier) for identifier in corpus["id"]]
        if name not in FAMILIES:
            rows = [row for row, identifier in enumerate(ids) if identifier in referred]
            corpus, ids = corpus.select(rows), [ids[row] for row in rows]
        texts = [" ".join(sentences) for sentences in corpus["sentences"]]
        parts.append(
            Dataset.from_dict({"id": ids, "title": corpus["title"], "text": texts, "family": [name] * len(corpus)})
        )
    return concatenate_datasets(parts)


def write(rows: Dataset, path: Path) -> None:
    """Write a table as small as Parquet can, since it travels."""
    pq.write_table(rows.data.table.combine_chunks(), path, compression="zstd", compression_level=9)


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--repositories", type=Path, required=True)
    parser.add_argument("--model", required=True, help="Checkpoint whose tokenizer and settings are used.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-length", type=int, default=1100)
    parser.add_argument("--passage-tokens", type=int, default=256, help="Embedded, and inserted, of a passage.")
    parser.add_argument("--unanswerable-share", type=float, default=0.12, help="Of single-hop questions with answers.")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = OneGenConfig.of(AutoConfig.from_pretrained(arguments.model)) or OneGenConfig()
    settings = replace(
        settings, max_embedded_tokens=arguments.passage_tokens, max_inserted_tokens=arguments.passage_tokens
    )
    tokenizer = load_tokenizer(arguments.model)
    collator = OneGenDataCollator(
        tokenizer, ["No passage is needed to encode."], settings, max_length=arguments.max_length
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    referred: set[str] = set()
    for stage, name, share in ((RETRIEVAL, "retrieval", 0.0), (JOINT, "joint", arguments.unanswerable_share)):
        pairs_only = stage is RETRIEVAL
        rows = Dataset.from_list(
            list(encoded_stage(arguments.repositories, stage, collator, pairs_only, arguments.seed, share))
        )
        for column in ("positives", "negatives"):
            referred.update(identifier for lists in rows[column] for ids in lists for identifier in ids)
        logger.info("%s: %d examples, %d tokens", name, len(rows), sum(rows["length"]))
        write(rows, arguments.out / f"{name}.parquet")
    questions = Dataset.from_list(list(development(arguments.repositories, collator)))
    write(questions, arguments.out / "development.parquet")
    names = dict.fromkeys([*RETRIEVAL, *JOINT, *FAMILIES])
    documents = documents_for(arguments.repositories, names, referred)
    logger.info("%d passages, %d development questions", len(documents), len(questions))
    write(documents, arguments.out / "documents.parquet")


if __name__ == "__main__":
    main()
