"""`attach_teacher`: the teacher that `distill_from` names scores a training's data before it starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from ...data.collator import OneGenDataCollator
from ...data.passages import Passage
from ...data.teacher import Teacher, embedded_units
from ..arguments import OneGenTrainingArguments
from .cross_encoder import CrossEncoderTeacher
from .embedding import EmbeddingTeacher

TEACHER_FOLDER = "teacher"
"""Folder in the output directory that keeps a teacher's scores."""
Anchor = tuple[str | None, list[str], list[str]]
"""Text, positives and hard negatives of a query token."""


def attach_teacher(collator: Any, args: OneGenTrainingArguments, train_dataset: Any, eval_dataset: Any = None) -> None:
    """
    Let the teacher that `distill_from` names score the data of a training, and give it to the collator.

    The scores are kept in the folder `teacher` of the output directory, where a run that is resumed finds them, and
    the other processes do. A collator that has a teacher keeps it.

    Args:
        collator ([`OneGenDataCollator`]): Knows the documents, and how many negatives are drawn from where.
        args ([`OneGenTrainingArguments`]): With `distill_from`.
        train_dataset: Examples, encoded or not.
        eval_dataset (*optional*): The same, or a dictionary of them.

    Raises:
        `TypeError`: For a stream, which cannot be read before the training.
        `ValueError`: If no query token has a positive and a text, the teacher cannot be loaded, or the collator is of
            another class.
    """
    if getattr(collator, "teacher", None) is not None:
        return
    name = str(args.distill_from)
    if not isinstance(collator, OneGenDataCollator):
        raise ValueError(
            f"distill_from={name!r} needs a OneGenDataCollator, not a {type(collator).__name__}: leave data_collator "
            "out, or fill in `teacher_scores` there and leave distill_from out"
        )
    evaluated = eval_dataset.values() if isinstance(eval_dataset, dict) else [eval_dataset]
    datasets = [dataset for dataset in (train_dataset, *evaluated) if dataset is not None]
    anchors = [anchor for dataset in datasets for anchor in _anchors(dataset, collator)]
    if not any(query is not None for query, _, _ in anchors):
        raise ValueError(
            f"distill_from={name!r} has nothing to teach: no query token of the examples has both a positive and a "
            "text (a sub-question, or the user's question). Leave distill_from out, or check the examples"
        )
    options: dict[str, Any] = {
        "device": args.device,
        "folder": Path(str(args.output_dir)) / TEACHER_FOLDER,
        "show_progress": not args.disable_tqdm and args.process_index == 0,
    }
    with args.main_process_first(desc="scores of the teacher"):
        try:
            collator.teacher = _teacher(name, anchors, collator, options)
        except ValueError as error:
            raise ValueError(f"distill_from={name!r}: {error}") from error


def _teacher(name: str, anchors: Sequence[Anchor], collator: OneGenDataCollator, options: dict[str, Any]) -> Teacher:
    if is_cross_encoder(name):
        return CrossEncoderTeacher.build(name, _pairs(anchors, collator), **options)
    queries = [query for query, _, _ in anchors]
    return EmbeddingTeacher.build(name, queries, _passages(anchors, collator), **options)


def is_cross_encoder(name: str) -> bool:
    """Whether a name is that of a cross-encoder, by the files of its checkpoint."""
    from sentence_transformers.util import load_file_path

    def read(file: str) -> dict[str, Any]:
        path = load_file_path(name, file)
        return {} if path is None else json.loads(Path(path).read_text(encoding="utf-8"))

    try:
        declared = read("config_sentence_transformers.json").get("model_type")
        architectures = read("config.json").get("architectures") or [""] if declared is None else [""]
    except (OSError, ValueError):
        return False  # loading it says what is wrong
    return declared == "CrossEncoder" or architectures[0].endswith("ForSequenceClassification")


def _anchors(dataset: Any, collator: OneGenDataCollator) -> Iterator[Anchor]:
    """The query tokens that have a positive."""
    if not hasattr(dataset, "__len__"):
        raise TypeError(
            f"distill_from needs examples that can be read before the training, not a {type(dataset).__name__}: load "
            "them without streaming, or give the collator a teacher of your own"
        )
    rows: Iterable[Any] = dataset
    if isinstance(dataset, Dataset) and "queries" in dataset.column_names:
        rows = dataset.select_columns(["queries", "positives", "negatives"])
    for row in rows:
        encoded = row if "queries" in row else collator.encode_example(row)
        for query, positives, negatives in zip(
            encoded["queries"], encoded["positives"], encoded["negatives"], strict=True
        ):
            if positives:
                yield query, positives, negatives


def _hard_negatives(negatives: list[str], collator: OneGenDataCollator) -> list[str]:
    return negatives if collator.num_hard_negatives else []


def _passages(anchors: Sequence[Anchor], collator: OneGenDataCollator) -> Iterator[Passage]:
    """All passages that a batch may hold."""
    documents = collator.documents
    rows: Iterable[int] = range(len(documents))
    if not collator.num_random_negatives:
        references = (
            reference for _, positives, negatives in anchors
            for reference in (*positives, *_hard_negatives(negatives, collator))
        )  # fmt: skip
        rows = dict.fromkeys(documents.resolve(reference)[0] for reference in references)
    for row in rows:
        yield from embedded_units(documents[row], collator.config)


def _pairs(anchors: Sequence[Anchor], collator: OneGenDataCollator) -> Iterator[tuple[str | None, Passage]]:
    """Every query token with its positives and its hard negatives."""
    documents = collator.documents
    for query, positives, negatives in anchors:
        if query is None:
            continue
        references = (*positives, *_hard_negatives(negatives, collator))
        for row in dict.fromkeys(documents.resolve(reference)[0] for reference in references):
            for unit in embedded_units(documents[row], collator.config):
                yield query, unit
