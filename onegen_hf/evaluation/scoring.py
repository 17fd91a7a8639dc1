"""Scores of stored results: which metrics apply to an example, and their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..metrics import (
    accuracy,
    answer_f1,
    clean_prediction,
    closed_answer,
    exact_match,
    hotpotqa_example_scores,
    match,
    ranking_scores,
    str_em,
)
from ..pipelines.confidence import withhold
from .examples import EvaluationExample
from .long_form import citation_metrics

CUTOFFS = (1, 5, 10, 20, 50, 100)
"""Ranks of `recall@` that are scored if they are below the number of retrieved passages, which is scored as well."""
_EXAMPLES_AT_A_TIME = 512
_FACT_SCORES = ("sp_em", "sp_f1", "joint_em", "joint_f1")


def _match(example: EvaluationExample, text: str) -> float:
    return match(text, list(example.answers))


def _accuracy(example: EvaluationExample, text: str) -> float:
    choices = sorted(example.meta.get("choices") or ())
    label = closed_answer(text, pubhealth=example.meta.get("task") == "pubhealth", choices=choices)
    return accuracy(label, list(example.answers))


def _str_em(example: EvaluationExample, text: str) -> float:
    pairs = example.meta.get("qa_pairs") or ()
    return str_em(text, [pair["short_answers"] for pair in pairs] or [example.answers])


LONG_FORM = "str_em"
"""Value of `meta.metric` of examples whose citations are scored."""
TASK_METRICS: dict[str, Callable[[EvaluationExample, str], float]] = {
    "match": _match,
    "accuracy": _accuracy,
    LONG_FORM: _str_em,
}
"""
Value of `meta.metric` → score of an example's answer. A metric added here is scored, reported and shown in the table.
"""


@dataclass
class ExampleScores:
    """
    The scores of one example.

    Attributes:
        group (`str`, *optional*): Its type of question.
        answer (`dict[str, float]`): Scores of the answer and of the generation as a whole.
        hops (`dict[int, dict[str, float]]`): Index of a gold hop → scores of its retrieval.
    """

    group: str | None
    answer: dict[str, float] = field(default_factory=dict)
    hops: dict[int, dict[str, float]] = field(default_factory=dict)

    def at_hop(self, hop: int) -> ExampleScores:
        """Only the retrieval of one hop."""
        return ExampleScores(self.group, {}, {hop: self.hops[hop]})


def answer_scores(example: EvaluationExample, result: Mapping[str, Any]) -> dict[str, float]:
    """
    Scores of a generation without its retrieval.

    | example | metrics |
    |---|---|
    | `meta.metric` is `"match"` (PopQA, TriviaQA) | `match` |
    | `meta.metric` is `"accuracy"` (PubHealth, ARC-Challenge) | `accuracy` |
    | `meta.metric` is `"str_em"` (ASQA) | `str_em`; with critique also `citation_precision`, `citation_recall` |
    | any other example with answers | `exact_match`, `f1` |
    | `meta.supporting_facts`, and an index of sentences | also `sp_em`, `sp_f1`, `joint_em`, `joint_f1` (HotpotQA) |
    | with gold hops | `hop_count_accuracy` |

    Args:
        example ([`EvaluationExample`])
        result (`Mapping`): As `pipeline("onegen-rag")` returns it; passages retrieved by sentence also have
            `sentence`.

    Raises:
        `ValueError`: If `meta.metric` is unknown.
    """
    scores: dict[str, float] = {}
    if example.answers:
        scores |= _by_task(example, result["answer"])
        if example.meta.get("metric") == LONG_FORM:
            scores |= citation_metrics(result)
        facts = predicted_facts(result)
        if facts is not None and example.meta.get("supporting_facts"):
            fact_scores = hotpotqa_example_scores(
                result["answer"], facts, example.answers[0], example.meta["supporting_facts"]
            )
            scores |= {name: fact_scores[name] for name in _FACT_SCORES}
    if example.positives:
        scores["hop_count_accuracy"] = float(len(result["retrievals"]) == len(example.positives))
    return scores


def declining_scores(
    example: EvaluationExample, result: Mapping[str, Any], some_unanswerable: bool
) -> dict[str, float]:
    """
    Whether a question was answered.

    Args:
        example ([`EvaluationExample`])
        result (`Mapping`): As for [`answer_scores`].
        some_unanswerable (`bool`): Whether the split has questions with answers and questions without, which no
            passage answers.

    Returns:
        `dict[str, float]`: `answered`; where some are unanswerable instead `declined_rightly` of those, and
        `declined_wrongly` of the others.
    """
    answered = float(bool(result["answer"]))
    if not some_unanswerable:
        return {"answered": answered}
    return {"declined_wrongly" if example.answers else "declined_rightly": 1 - answered}


def cost_scores(result: Mapping[str, Any]) -> dict[str, float]:
    """
    What an answer cost.

    Args:
        result (`Mapping`): As for [`answer_scores`].

    Returns:
        `dict[str, float]`: `retrieval_frequency`, 1 if anything was retrieved; `hops`; `forwarded_tokens`, if the
        result has its `usage`.
    """
    hops = len(result["retrievals"])
    scores = {"retrieval_frequency": float(hops > 0), "hops": float(hops)}
    if "usage" in result:
        scores["forwarded_tokens"] = float(result["usage"]["forwarded_tokens"])
    return scores


def _by_task(example: EvaluationExample, answer: str) -> dict[str, float]:
    metric, answers = example.meta.get("metric"), list(example.answers)
    if metric is None:
        return {"exact_match": exact_match(answer, answers), "f1": answer_f1(answer, answers)}
    if not isinstance(metric, str) or metric not in TASK_METRICS:
        names = ", ".join(map(repr, TASK_METRICS))
        raise ValueError(f"example {example.id!r}: meta.metric is {metric!r}; give {names} or none")
    # Removing the control tokens leaves the spaces around them.
    return {metric: TASK_METRICS[metric](example, clean_prediction(answer).strip())}


def predicted_facts(result: Mapping[str, Any]) -> list[tuple[str, int]] | None:
    """The sentences that were retrieved first, as HotpotQA's supporting facts; `None` if passages were searched."""
    best = [retrieval["passages"][0] for retrieval in result["retrievals"] if retrieval["passages"]]
    if not best or any("sentence" not in passage for passage in best):
        return None
    return [(passage["title"], passage["sentence"]) for passage in best]


def found_ids(result: Mapping[str, Any]) -> list[list[str]]:
    """Ids of the passages of every hop, best first."""
    return [[passage["id"] for passage in retrieval["passages"]] for retrieval in result["retrievals"]]


def hop_scores_of(
    examples: Sequence[EvaluationExample], found: Sequence[Sequence[Sequence[str]]], k: int
) -> list[dict[int, dict[str, float]]]:
    """
    Scores of every gold hop.

    Args:
        examples (`Sequence[EvaluationExample]`)
        found (`Sequence[Sequence[Sequence[str]]]`): Example → hop → ids of retrieved passages, best first. A gold hop
            without a retrieval scores 0.
        k (`int`): Passages per hop; lower ranks are not scored.

    Returns:
        `list[dict[int, dict[str, float]]]`: Example → gold hop that has positives → `recall@k` (share of its positives
        among the first k), `success@k` (whether any is), `mrr`, `ndcg@k`.
    """
    cutoffs = [*(cutoff for cutoff in CUTOFFS if cutoff < k), k]
    kept = [f"{name}@{cutoff}" for name in ("recall", "success") for cutoff in cutoffs]
    kept += ["mrr", f"ndcg@{min(10, k)}"]
    hops = [
        (place, hop, list(found[place][hop]) if hop < len(found[place]) else [], positives)
        for place, example in enumerate(examples)
        for hop, positives in enumerate(example.positives)
        if positives
    ]
    scored: list[dict[int, dict[str, float]]] = [{} for _ in examples]
    values = ranking_scores([hop[2] for hop in hops], [hop[3] for hop in hops], at=cutoffs) if hops else []
    for (place, hop, *_), scores in zip(hops, values, strict=True):
        scored[place][hop] = {name: scores[name] for name in kept}
    return scored


def score_rag(
    examples: Sequence[EvaluationExample],
    results: Iterable[Mapping[str, Any]],
    k: int,
    retrieved: bool = True,
    answer_threshold: float | None = None,
) -> Iterator[ExampleScores]:
    """
    Score generations.

    Args:
        examples (`Sequence[EvaluationExample]`)
        results (`Iterable[Mapping]`): One per example, in order; read a few hundred at a time.
        k (`int`): Passages per hop.
        retrieved (`bool`, *optional*, defaults to `True`): Whether to score the retrieval too. Pass `False` for runs
            with gold passages, which retrieve nothing.
        answer_threshold (`float`, *optional*): See [`~onegen_hf.pipelines.confidence.withhold`].
    """
    some_unanswerable = len({bool(example.answers) for example in examples}) == 2
    for batch, outputs in _batches(examples, (withhold(result, answer_threshold) for result in results)):
        hops = hop_scores_of(batch, [found_ids(result) for result in outputs], k) if retrieved else [{} for _ in batch]
        for example, result, scores in zip(batch, outputs, hops, strict=True):
            declining = declining_scores(example, result, some_unanswerable)
            answer = answer_scores(example, result) | declining | cost_scores(result)
            yield ExampleScores(example.group, answer, scores)


def score_retrieval(
    examples: Sequence[EvaluationExample], results: Iterable[Mapping[str, Any]], k: int
) -> Iterator[ExampleScores]:
    """Score retrieval alone; as [`score_rag`]."""
    for batch, outputs in _batches(examples, results):
        hops = hop_scores_of(batch, [found_ids(result) for result in outputs], k)
        for example, scores in zip(batch, hops, strict=True):
            yield ExampleScores(example.group, {}, scores)


def _batches(
    examples: Sequence[EvaluationExample], results: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Sequence[EvaluationExample], list[Mapping[str, Any]]]]:
    # Each call of ir-measures costs time, and with a large `k` each example costs memory.
    stream = iter(results)
    for start in range(0, len(examples), _EXAMPLES_AT_A_TIME):
        batch = examples[start : start + _EXAMPLES_AT_A_TIME]
        yield batch, list(islice(stream, len(batch)))
