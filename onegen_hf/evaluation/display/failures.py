"""What went wrong with an example: the gold passages and answers beside those of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...data.passages import Passage
from ..examples import EvaluationExample
from ..scoring import answer_scores

KINDS = {"answer": "wrong answer", "retrieval": "wrong passage", "hops": "wrong number of retrievals"}
"""Kind of a failure → what the page calls it."""
MOST_PASSAGES = 5


@dataclass(frozen=True)
class Hop:
    """
    A retrieval beside the gold hop at the same place.

    Attributes:
        query (`str`): What was asked for; empty if there was no retrieval, or it was not recorded.
        gold (`list[dict]`): The gold passages, each with `id`, `title` and `text`.
        retrieved (`list[dict]`): The first retrieved ones, each with its `score` too.
        right (`bool`, *optional*): Whether the first retrieved passage is a gold one; `None` without a gold passage.
    """

    query: str
    gold: list[dict[str, Any]]
    retrieved: list[dict[str, Any]]
    right: bool | None


@dataclass(frozen=True)
class Case:
    """An example with its result, and in which ways it failed (`kinds`: keys of [`KINDS`])."""

    id: str
    question: str
    group: str
    gold_answers: tuple[str, ...]
    answer: str | None
    hops: list[Hop]
    kinds: tuple[str, ...]


def cases_of(
    examples: Sequence[EvaluationExample],
    results: Sequence[Mapping[str, Any]],
    passage_of: Callable[[str], Passage | None],
) -> list[Case]:
    """
    Put results beside the gold data.

    Args:
        examples (`Sequence[EvaluationExample]`)
        results (`Sequence[Mapping]`): As the pipeline returns them, or of [`evaluate_retrieval`].
        passage_of (`Callable`): Id → passage.
    """
    return [_case(example, result, passage_of) for example, result in zip(examples, results, strict=True)]


def first_scores(cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """The scores of the first passages that are gold ones, and of those that are not."""
    judged = [hop for case in cases for hop in case.hops if hop.right is not None and hop.retrieved]
    right = [float(hop.retrieved[0]["score"]) for hop in judged if hop.right]
    return right, [float(hop.retrieved[0]["score"]) for hop in judged if not hop.right]


def _case(example: EvaluationExample, result: Mapping[str, Any], passage_of: Callable[[str], Passage | None]) -> Case:
    retrievals, answer = result["retrievals"], result.get("answer")
    hops = []
    for place in range(max(len(retrievals), len(example.positives))):
        retrieval = retrievals[place] if place < len(retrievals) else {"passages": []}
        gold = example.positives[place] if place < len(example.positives) else ()
        hops.append(_hop(retrieval, gold, passage_of))
    kinds = []
    if answer is not None and example.answers and _answer_is_wrong(example, result):
        kinds.append("answer")
    if any(hop.right is False for hop in hops):
        kinds.append("retrieval")
    if example.positives and len(retrievals) != len(example.positives):
        kinds.append("hops")
    question = example.question or (example.messages[0]["content"] if example.messages else "")
    group = example.group or "no type"
    return Case(example.id, question, group, tuple(example.answers), answer, hops, tuple(kinds))


def _hop(retrieval: Mapping[str, Any], gold: Sequence[str], passage_of: Callable[[str], Passage | None]) -> Hop:
    retrieved = [_shown(passage["id"], passage, passage_of) for passage in retrieval["passages"][:MOST_PASSAGES]]
    right = None if not gold else bool(retrieved) and retrieved[0]["id"] in gold
    return Hop(
        retrieval.get("query", ""), [_shown(identifier, {}, passage_of) for identifier in gold], retrieved, right
    )


def _shown(identifier: str, known: Mapping[str, Any], passage_of: Callable[[str], Passage | None]) -> dict[str, Any]:
    passage = None if "text" in known else passage_of(identifier)
    stored = {} if passage is None else {"title": passage.title, "text": passage.text}
    return {"title": "", "text": "", "score": None, **stored, **known, "id": identifier}


def _answer_is_wrong(example: EvaluationExample, result: Mapping[str, Any]) -> bool:
    scores = answer_scores(example, result)
    return not all(scores[name] for name in ("exact_match", "match", "accuracy") if name in scores)
