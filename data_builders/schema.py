"""References from examples to documents, and the check that an example is usable for training."""

from __future__ import annotations

import importlib
from collections.abc import Container, Mapping
from typing import Any

DEFAULT_QUERY_TOKEN = "[RQ]"
UNLABELLED_OPEN, UNLABELLED_CLOSE = "<unlabelled>", "</unlabelled>"
"""In an assistant's turn: text that the model reads and has no loss on, since it may not be what it should write."""


def split_reference(reference: str, document_ids: Container[str]) -> tuple[str, int | None]:
    """
    Take a reference to a document (`doc`) or to one of its sentences (`doc#sentence`) apart.

    Args:
        reference (`str`):
            An entry of `positives` or `negatives`.
        document_ids (`Container[str]`):
            The known document ids; an id that is itself known is never split.

    Returns:
        `tuple[str, int | None]`: The document id, and the sentence number or `None` for a whole document.
    """
    if reference not in document_ids:
        document, mark, sentence = reference.rpartition("#")
        if mark and sentence.isascii() and sentence.isdigit():
            return document, int(sentence)
    return reference, None


def validate_example(
    example: Mapping[str, Any], document_ids: Container[str], query_token: str = DEFAULT_QUERY_TOKEN
) -> None:
    """
    Check one record of the `examples` config against the documents it refers to.

    Args:
        example (`Mapping[str, Any]`):
            A record with the columns of [`EXAMPLES_FEATURES`].
        document_ids (`Container[str]`):
            The ids of the `documents` config.
        query_token (`str`, *optional*, defaults to `"[RQ]"`):
            The token that asks for a retrieval.

    Raises:
        `ValueError`: If the number of query tokens differs from the number of `positives` or `negatives`, if an id
            is unknown, or if a positive is also a negative of the same query token.
    """
    name = f"example {example['id']!r}"
    tokens = sum(m["content"].count(query_token) for m in example["messages"] if m["role"] == "assistant")
    for column in ("positives", "negatives"):
        if len(example[column]) != tokens:
            raise ValueError(
                f"{name}: the assistant content holds {tokens} query tokens {query_token} but `{column}` has "
                f"{len(example[column])} entries; give one list per query token, in order (it may be empty)."
            )
    for hop, (positives, negatives) in enumerate(zip(example["positives"], example["negatives"], strict=True)):
        for reference in (*positives, *negatives):
            if split_reference(reference, document_ids)[0] not in document_ids:
                raise ValueError(
                    f"{name}, query token {hop}: unknown document id {reference!r}; add it to `documents` or drop it."
                )
        clashes = [p for p in positives if any(_overlap(p, n, document_ids) for n in negatives)]
        if clashes:
            raise ValueError(
                f"{name}, query token {hop}: {clashes[0]!r} is both positive and negative; drop it from `negatives`."
            )


def _overlap(left: str, right: str, document_ids: Container[str]) -> bool:
    left_document, left_sentence = split_reference(left, document_ids)
    right_document, right_sentence = split_reference(right, document_ids)
    if left_document != right_document:
        return False
    # A whole document contains each of its sentences; two different sentences of it don't clash.
    return left_sentence is None or right_sentence is None or left_sentence == right_sentence


def __getattr__(name: str) -> Any:
    # The features of both configs, under the path of earlier releases. They import `datasets`, which takes seconds.
    if name.endswith("_FEATURES"):
        return getattr(importlib.import_module("data_builders.features"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
