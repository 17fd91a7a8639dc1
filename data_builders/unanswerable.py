"""Questions whose passage does not answer them: what teaches a model to say so."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from data_builders.documents import Document, DocumentStore
from data_builders.rendering import PARAGRAPH_START, render_passage

NO_ANSWER = "The passages do not answer this question."
"""Written in place of the answer: a text without `Answer:` is no answer."""


def without_answer(example: Mapping[str, Any], passage: Document) -> dict[str, Any]:
    """
    Put a passage that does not hold the answer in the place of the one that does.

    The query token keeps its positives, so retrieval learns what it did.

    Args:
        example (`Mapping[str, Any]`):
            A record of the `examples` config with one hop.
        passage (`Document`):
            A hard negative.

    Returns:
        `dict[str, Any]`: A record without answers, whose `meta` names the passage as `inserted`.
    """
    *turns, last = example["messages"]
    asked = last["content"].partition(PARAGRAPH_START)[0]
    meta = json.loads(example["meta"] or "{}") | {"inserted": passage.id}
    return {
        **example,
        "messages": [*turns, {**last, "content": f"{asked}{render_passage(passage)}\n{NO_ANSWER}"}],
        "answers": [],
        "meta": json.dumps(meta, sort_keys=True),
    }


def with_unanswerable(
    examples: Iterable[Mapping[str, Any]],
    documents: Mapping[str, Document] | DocumentStore,
    share: float,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """
    Turn a share of the examples into ones whose inserted passage is a hard negative, see [`without_answer`].

    Args:
        examples (`Iterable[Mapping[str, Any]]`):
            Records of the `examples` config; those with several hops, without answers or without negatives stay.
        documents (`DocumentStore` or `Mapping[str, Document]`):
            Holds the negatives.
        share (`float`):
            Of the examples that can be turned, from 0 to 1.
        seed (`int`, *optional*, defaults to 0):
            Chooses examples and negatives; the choice for an example depends on its id alone.

    Returns:
        `Iterator[dict[str, Any]]`: As many records, in the same order.

    Raises:
        `ValueError`: If `share` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"`unanswerable_share` must be between 0 and 1, got {share}.")
    for example in examples:
        rng = random.Random(f"{seed}|{example['id']}")
        if can_be_turned(example) and rng.random() < share:
            reference = rng.choice(example["negatives"][0])
            yield without_answer(example, documents[reference.partition("#")[0]])
        else:
            yield dict(example)


def can_be_turned(example: Mapping[str, Any]) -> bool:
    """Whether an example has answers, one hop with its passage, and a hard negative."""
    one_hop = len(example["negatives"]) == 1 and len(example["negatives"][0]) > 0
    return bool(example["answers"]) and one_hop and PARAGRAPH_START in example["messages"][-1]["content"]
