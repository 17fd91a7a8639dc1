"""The fact corpus: passages and questions made from the tables beside this file, for demos and quick training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from datasets import Dataset

from data_builders.documents import DocumentStore
from data_builders.facts.fact_base import FactBase
from data_builders.facts.neighbours import Neighbours
from data_builders.facts.passages import passage
from data_builders.facts.questions import draw_questions
from data_builders.facts.split import HELD_OUT_FRACTION, held_out_titles
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.multi_hop.conversion import record_to_example
from data_builders.parquet_export import write_repository
from data_builders.schema import DEFAULT_QUERY_TOKEN

MOST_QUESTIONS = 100_000
"""More than the tables give; every comparison of two entities would be written before that shows."""


class FactCorpus(NamedTuple):
    """
    The corpus before it becomes examples.

    Args:
        documents (`list[dict[str, Any]]`):
            Records `{"id", "title", "sentences"}`; the id is the title.
        questions (`dict[str, list[dict[str, Any]]]`):
            The records of `train` and `dev`, in the layout of wiki2hop.
        held_out (`set[str]`):
            The titles that no training question touches.
    """

    documents: list[dict[str, Any]]
    questions: dict[str, list[dict[str, Any]]]
    held_out: set[str]


def build_fact_corpus(
    train_size: int = 3000, dev_size: int = 300, seed: int = 0, held_out_fraction: float = HELD_OUT_FRACTION
) -> FactCorpus:
    """
    Write the passages and draw the questions.

    Training questions use no held-out entity at all. Development questions start at held-out entities only; their
    further hops may pass through entities known from training (the country of a birthplace, say).

    Args:
        train_size (`int`, *optional*, defaults to 3000):
            The number of training questions.
        dev_size (`int`, *optional*, defaults to 300):
            The number of development questions.
        seed (`int`, *optional*, defaults to 0):
            Chooses wordings, the split and the questions. The same seed gives the same corpus.
        held_out_fraction (`float`, *optional*, defaults to 0.25):
            The part of the entities held out.

    Returns:
        `FactCorpus`: Passages, questions and held-out titles.

    Raises:
        `ValueError`: If a split is to have no question.
    """
    for name, size in (("train_size", train_size), ("dev_size", dev_size)):
        if not 1 <= size <= MOST_QUESTIONS:
            raise ValueError(f"{name}={size} must be from 1 to {MOST_QUESTIONS} questions")
    facts = FactBase()
    store = DocumentStore()
    for entity in facts.entities.values():
        store.add(entity.title, passage(entity, facts, seed))
    neighbours = Neighbours(facts, {document.title: document.text for document in store})
    held_out = held_out_titles(facts, seed, held_out_fraction)

    def known(title: str) -> bool:
        return title not in held_out

    train = draw_questions(facts, neighbours, split="train", size=train_size, starts=known, passes=known, seed=seed)
    dev = draw_questions(
        facts,
        neighbours,
        split="dev",
        size=dev_size,
        starts=held_out.__contains__,
        passes=facts.__contains__,
        seed=seed,
    )
    documents = [document.as_record() for document in store]
    return FactCorpus(documents, {"train": train, "dev": dev}, held_out)


def build_facts(
    train_size: int = 3000,
    dev_size: int = 300,
    seed: int = 0,
    *,
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    write_order: bool = False,
) -> tuple[Dataset, dict[str, Dataset], dict[str, dict[str, int]]]:
    """
    Build the two dataset configs over the fact corpus.

    Args:
        train_size (`int`, *optional*, defaults to 3000):
            The number of training questions.
        dev_size (`int`, *optional*, defaults to 300):
            The number of development questions.
        seed (`int`, *optional*, defaults to 0):
            Chooses wordings, the split and the questions.
        num_negatives (`int`, *optional*, defaults to 5):
            The most hard negatives per hop.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.
        write_order (`bool`, *optional*, defaults to `False`):
            Below a comparison of dates also write which of the two is later and which is earlier, see [`order_lines`].

    Returns:
        `tuple[Dataset, dict[str, Dataset], dict[str, dict[str, int]]]`: The documents, the examples of each split and
        a report of counts.
    """
    corpus = build_fact_corpus(train_size, dev_size, seed)
    store = DocumentStore()
    for record in corpus.documents:
        store.add(record["title"], record["sentences"])
    report = {"documents": {"documents": len(store), "held_out": len(corpus.held_out)}}
    tables = {}
    for split, records in corpus.questions.items():
        rows = [
            record_to_example(
                record, store, num_negatives=num_negatives, query_token=query_token, write_order=write_order
            )
            for record in records
        ]
        tables[split] = Dataset.from_list(rows, features=EXAMPLES_FEATURES)
        report[split] = count_examples(rows)
    return Dataset.from_list(corpus.documents, features=DOCUMENTS_FEATURES), tables, report


def count_examples(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """
    Count examples, hops, negatives, comparison lines, decompositions by origin and question types.

    Args:
        rows (`Sequence[Mapping[str, Any]]`):
            Records of the `examples` config.

    Returns:
        `dict[str, int]`: The counts, in alphabetical order.
    """
    counts: Counter[str] = Counter(examples=len(rows))
    for row in rows:
        meta = json.loads(row["meta"])
        counts["hops"] += len(row["positives"])
        counts["negatives"] += sum(len(ids) for ids in row["negatives"])
        counts["hops_without_negatives"] += sum(not ids for ids in row["negatives"])
        counts["comparison_lines"] += meta["comparison"]
        counts[f"decomposition/{meta['decomposition']}"] += 1
        counts[f"type/{meta.get('type', 'none')}"] += 1
    return dict(sorted(counts.items()))


def write_facts(
    out_dir: str | PathLike[str],
    train_size: int = 3000,
    dev_size: int = 300,
    seed: int = 0,
    *,
    num_negatives: int = 5,
    query_token: str = DEFAULT_QUERY_TOKEN,
    write_order: bool = False,
) -> dict[str, dict[str, int]]:
    """
    Build the fact corpus and write it as a dataset repository.

    Args:
        out_dir (`str` or `PathLike`):
            The folder of the repository.
        train_size, dev_size, seed, num_negatives, query_token, write_order:
            As in [`build_facts`].

    Returns:
        `dict[str, dict[str, int]]`: The report of counts.
    """
    documents, tables, report = build_facts(
        train_size, dev_size, seed, num_negatives=num_negatives, query_token=query_token, write_order=write_order
    )
    write_repository(
        out_dir,
        documents,
        tables,
        title="OneGen fact corpus",
        description="Short passages on films, people, countries, cities and works, with questions of one to four "
        "hops. Made from tables of facts; `dev` starts at entities that `train` never touches.",
    )
    return report
