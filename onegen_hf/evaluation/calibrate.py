"""`calibrate_answers`: finds the threshold below which a model's answers are withheld, on development data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..checks import checked, instance, integer, number, optional
from ..generation.policy import make_policy, retrieval_rule
from ..pipelines import OneGenRagPipeline
from .answer_threshold import Declining, ScoredAnswers, declining_at, fit_answer_threshold
from .examples import read_examples
from .rag import ANSWERS_FILE, Answering
from .runs.runner import RUN_RULES, evaluation_run, identity

WITHOUT_GOLD_FILE = "answers_without_gold_passages.jsonl"
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the unanswerable questions for which a calibration tells what declining them costs."""


@dataclass(frozen=True)
class AnswerCalibration:
    """
    The result of a calibration.

    Attributes:
        examples (`int`): Questions that were asked, each with and without its gold passages in the index.
        f1 (`float`): Points of F1 (of 100) over the whole index without a threshold.
        chosen ([`Declining`]): The threshold, and what it does.
        alternatives (`list[Declining]`): The lowest thresholds that decline at least 50 %, 60 %, ..., 90 % of the
            unanswerable questions, those that exist.
    """

    examples: int
    f1: float
    chosen: Declining
    alternatives: list[Declining]

    def __str__(self) -> str:
        lines = [
            f"{self.examples} questions, each with and without its gold passages in the index; F1 {self.f1:.1f}",
            "",
            f"{'threshold':>9}  {'declined rightly':>16}  {'declined wrongly':>16}  {'F1 lost':>7}",
        ]
        for each in sorted({*self.alternatives, self.chosen}, key=lambda each: each.threshold):
            mark = "  chosen" if each == self.chosen else ""
            lines.append(
                f"{each.threshold:>9.3f}  {each.declined_rightly:>16.1%}  {each.declined_wrongly:>16.1%}  "
                f"{each.f1_lost:>7.1f}{mark}"
            )
        return "\n".join(lines)


@checked(
    rag=instance(OneGenRagPipeline),
    decline=number(least=0, most=1),
    most_loss=number(least=0, most=100),
    k=integer(least=1),
    max_hops=integer(least=0),
    max_new_tokens=integer(least=1),
    retrieval=retrieval_rule,
    threshold=optional(number(least=0, most=1)),
    **{name: RUN_RULES[name] for name in ("output_dir", "batch_size", "show_progress")},
)
def calibrate_answers(
    rag: OneGenRagPipeline,
    examples: Iterable[Mapping[str, Any]],
    output_dir: str | os.PathLike[str] | None = None,
    decline: float = 0.7,
    most_loss: float = 3.0,
    k: int = 1,
    max_hops: int = 5,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    retrieval: str = "adaptive",
    threshold: float | None = None,
    show_progress: bool = True,
) -> AnswerCalibration:
    """
    Find the threshold on `retrieval_confidence` below which answers are withheld.

    Every question is asked twice: over the whole index, and over the index without its gold passages, where it counts
    as unanswerable. The checkpoint is not changed: [`~onegen_hf.configuration.write_setting`] stores the threshold as
    `answer_threshold`.

    An interrupted calibration continues, and the results of an [`evaluate_rag`] in the same directory are used if all
    of its examples can be.

    Args:
        rag ([`OneGenRagPipeline`]): Model, tokenizer and index.
        examples (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `examples` config, of a development split.
            Those without answers or positives are left out.
        output_dir (`str` or path, *optional*): Receives `settings.json`, `answers.jsonl` and
            `answers_without_gold_passages.jsonl`. By default nothing is written.
        decline (`float`, *optional*, defaults to 0.7): Smallest share of the unanswerable questions to decline.
        most_loss (`float`, *optional*, defaults to 3.0): Most points of F1 to lose on the others.
        k, max_hops, max_new_tokens, batch_size, retrieval, threshold, show_progress: As for [`evaluate_rag`]. A
            threshold is fitted for one `k`.

    Returns:
        [`AnswerCalibration`]

    Raises:
        `ValueError`: As [`evaluate_rag`]; if no example has both answers and positives; or if no threshold declines
            enough at that cost.

    Example:

    ```python
    >>> calibration = calibrate_answers(rag, load_examples("org/dataset", "dev"))
    >>> write_setting("my-checkpoint", "answer_threshold", calibration.chosen.threshold)
    ```
    """
    make_policy(retrieval, max_hops, threshold)
    read = read_examples(examples, (passage.id for passage in rag.index))
    usable = [example for example in read if example.answers and any(example.positives)]
    if not usable:
        raise ValueError(
            "examples: none has both answers and positives, which a calibration needs: give another split"
        )
    answering = Answering(rag, k, max_hops, max_new_tokens, batch_size, retrieval=retrieval, threshold=threshold)
    answering.check_prompts(usable)
    with evaluation_run(
        output_dir, rag.model, rag.tokenizer, rag.index, identity(usable), answering.settings, show_progress
    ) as run:
        results = list(run.results(ANSWERS_FILE, usable, answering.block_size, answering.answer))
        without_gold = list(
            run.results(WITHOUT_GOLD_FILE, usable, answering.block_size, answering.without_gold_passages)
        )
    answers = ScoredAnswers.of(usable, results, without_gold)
    chosen = fit_answer_threshold(answers, decline, most_loss)
    return AnswerCalibration(len(usable), answers.mean_f1, chosen, declining_at(answers, SHARES))
