"""Reflection tokens for questions with one passage, made by a rule where the data has none."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from data_builders.answer_matching import holds_answer, words
from data_builders.documents import Document, DocumentStore
from data_builders.errors import RecordError
from data_builders.rendering import PARAGRAPH_END, PARAGRAPH_START, render_passage
from data_builders.single_hop.reflection import IRRELEVANT, REFLECTION_TOKENS, RELEVANT, RETRIEVAL
from data_builders.unanswerable import NO_ANSWER, can_be_turned

NO_RETRIEVAL = "[No Retrieval]"
FULL, PARTIAL, NONE = "[Fully supported]", "[Partially supported]", "[No support / Contradictory]"
BEST, WORST = "[Utility:5]", "[Utility:1]"
PARTIAL_SHARE = 0.5
"""Share of an answer's words that must stand in a passage for partial support."""


def with_reflection(
    examples: Iterable[Mapping[str, Any]],
    documents: Mapping[str, Document] | DocumentStore,
    irrelevant_share: float = 0.0,
    given_share: float = 0.0,
    seed: int = 0,
    query_token: str = "[RQ]",
) -> Iterator[dict[str, Any]]:
    """
    Write Self-RAG's reflection tokens (arXiv 2310.11511, table 1) into examples with one query token.

    | inserted passage | the assistant's turn |
    |---|---|
    | the example's own | `[Retrieval][RQ]<paragraph>…</paragraph>[Relevant]` text, support, `[Utility:5]` |
    | a hard negative | `[Retrieval][RQ]<paragraph>…</paragraph>[Irrelevant]` text, no support, `[Utility:1]` |
    | none: it stands in the question | `[No Retrieval]` text `[Utility:5]` |

    Support is full if the words of an answer stand in a row in the passage, partial if half of them stand anywhere in
    it, and otherwise none. After a hard negative the text says that the passages give no answer.

    The limits of the rule: relevance is which passage was inserted, not a judgement; support counts words, so a
    paraphrase looks partial and a chance match full; utility has two of its five levels; `[Continue to Use Evidence]`
    is never written; and not retrieving is learnt only for questions that bring their passage along. Self-RAG's own
    data (`onegen-hf build self-rag`) was judged by a language model and has none of these limits.

    Args:
        examples (`Iterable[Mapping[str, Any]]`):
            Records of the `examples` config with one query token, its passage and answers. What stands in front of the
            query token is left out: the query is the state right after the question.
        documents (`DocumentStore` or `Mapping[str, Document]`):
            Holds positives and negatives.
        irrelevant_share (`float`, *optional*, defaults to 0.0):
            Share of the examples, among those with a hard negative, into which one is inserted.
        given_share (`float`, *optional*, defaults to 0.0):
            Share of the examples whose question brings the passage along.
        seed (`int`, *optional*, defaults to 0):
            Chooses examples and negatives; the choice for an example depends on its id alone.
        query_token (`str`, *optional*, defaults to `"[RQ]"`)

    Returns:
        `Iterator[dict[str, Any]]`: As many records, in the same order.

    Raises:
        `ValueError`: If a share is not between 0 and 1, or both together are above 1.
        `RecordError`: If an example has no answers, not one query token with its passage, or holds a reflection token.
    """
    shares = {"irrelevant_share": irrelevant_share, "given_share": given_share}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"`{name}` must be between 0 and 1, got {share}.")
    if irrelevant_share + given_share > 1:
        raise ValueError(f"`irrelevant_share` and `given_share` must be at most 1 together, got {shares}.")
    for example in examples:
        text = _text_of(example, query_token)
        rng = random.Random(f"{seed}|reflection|{example['id']}")
        draw, passage = rng.random(), documents[example["positives"][0][0].partition("#")[0]]
        if draw < given_share:
            yield _given(example, passage, text)
        elif draw < given_share + irrelevant_share and can_be_turned(example):
            negative = rng.choice(example["negatives"][0]).partition("#")[0]
            yield _irrelevant(example, documents[negative], query_token)
        else:
            yield _relevant(example, passage, text, query_token)


def support_of(passage: Document, answers: Iterable[str]) -> str:
    """The support token of a text that gives an answer, by the words that the passage shares with it."""
    answers, text = list(answers), f"{passage.title}\n{passage.text}"
    if holds_answer(text, answers):
        return FULL
    known = set(words(text).split())
    shares = [sum(word in known for word in one.split()) / len(one.split()) for one in map(words, answers) if one]
    return PARTIAL if max(shares, default=0.0) >= PARTIAL_SHARE else NONE


def _text_of(example: Mapping[str, Any], query_token: str) -> str:
    """What the assistant writes after the passage."""
    content = example["messages"][-1]["content"]
    number = len(example["positives"])
    if number != 1 or not example["positives"][0] or not example["answers"] or content.count(PARAGRAPH_START) != 1:
        raise RecordError(
            "no_reflection",
            f"example {example['id']!r} has {number} query tokens; reflection tokens are made for one, with its "
            "passage and an answer. Leave it out, or build without `reflection`.",
        )
    text = content.partition(PARAGRAPH_END)[2].strip()
    if found := [token for token in (*REFLECTION_TOKENS, query_token) if token in text]:
        raise RecordError("reserved_text", f"example {example['id']!r} writes {found[0]!r} already; remove it there.")
    # A line that repeats the answer belongs to a question that was written again.
    return text.rpartition("\n")[2]


def _relevant(example: Mapping[str, Any], passage: Document, text: str, query_token: str) -> dict[str, Any]:
    judged = f"{RELEVANT}{text}{support_of(passage, example['answers'][:1])}{BEST}"
    return _with_turn(example, f"{RETRIEVAL}{query_token}{render_passage(passage)}{judged}", relevance=["relevant"])


def _irrelevant(example: Mapping[str, Any], passage: Document, query_token: str) -> dict[str, Any]:
    judged = f"{IRRELEVANT}{NO_ANSWER}{NONE}{WORST}"
    turn = f"{RETRIEVAL}{query_token}{render_passage(passage)}{judged}"
    return {**_with_turn(example, turn, relevance=["irrelevant"], inserted=passage.id), "answers": []}


def _given(example: Mapping[str, Any], passage: Document, text: str) -> dict[str, Any]:
    question = f"{passage.title}\n{passage.text}".strip() + f"\n\n{example['question']}"
    *turns, asked, last = _with_turn(example, f"{NO_RETRIEVAL}{text}{BEST}", relevance=[])["messages"]
    return {
        **_with_turn(example, last["content"], relevance=[]),
        "messages": [*turns, {**asked, "content": question}, last],
        "question": question,
        "positives": [],
        "negatives": [],
    }


def _with_turn(example: Mapping[str, Any], content: str, **meta: Any) -> dict[str, Any]:
    *turns, last = example["messages"]
    return {
        **example,
        "messages": [*turns, {**last, "content": content}],
        "meta": json.dumps(json.loads(example["meta"] or "{}") | meta, sort_keys=True),
    }
