"""`calibrate_retrieval`: finds the threshold of adaptive retrieval for a wished frequency, on development data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..checks import checked, instance, integer, number
from ..generation import OnePassDecoder
from ..pipelines import OneGenRagPipeline
from .examples import EvaluationExample, read_examples
from .rag import Answering
from .retrieval_threshold import RetrievalFrequency, fit_retrieval_threshold
from .runs.runner import RUN_RULES, evaluation_run, identity

PROBABILITIES_FILE = "retrieval_probabilities.jsonl"
FREQUENCIES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Frequencies for which a calibration names the threshold beside the one wished for."""


@dataclass(frozen=True)
class RetrievalCalibration:
    """
    The result of a calibration.

    Attributes:
        examples (`int`): Questions that were answered without retrieving.
        chosen ([`RetrievalFrequency`]): The threshold, and the frequency that it reaches on these questions.
        alternatives (`list[RetrievalFrequency]`): The thresholds for 10 %, 25 %, 50 %, 75 % and 90 %.
    """

    examples: int
    chosen: RetrievalFrequency
    alternatives: list[RetrievalFrequency]

    def __str__(self) -> str:
        lines = [f"{self.examples} questions, answered without retrieving", "", f"{'threshold':>10}  {'retrieve':>8}"]
        for each in sorted({*self.alternatives, self.chosen}, key=lambda each: each.threshold):
            mark = "  chosen" if each == self.chosen else ""
            lines.append(f"{each.threshold:>10.4g}  {each.frequency:>8.1%}{mark}")
        return "\n".join(lines)


@checked(
    rag=instance(OneGenRagPipeline),
    frequency=number(least=0, most=1),
    max_new_tokens=integer(least=1),
    **{name: RUN_RULES[name] for name in ("output_dir", "batch_size", "show_progress")},
)
def calibrate_retrieval(
    rag: OneGenRagPipeline,
    examples: Iterable[Mapping[str, Any]],
    frequency: float,
    output_dir: str | os.PathLike[str] | None = None,
    max_new_tokens: int = 256,
    batch_size: int = 8,
    show_progress: bool = True,
) -> RetrievalCalibration:
    """
    Find the threshold with which a wished share of the questions retrieves at least once.

    Every question is answered once without retrieving, greedily, and the highest probability of a retrieval is kept.
    What an answer does before its first retrieval does not depend on the threshold, so this one run gives the exact
    frequency of every threshold. The checkpoint is not changed: [`~onegen_hf.configuration.write_setting`] stores the
    threshold as `retrieval_threshold`.

    Args:
        rag ([`OneGenRagPipeline`]): Model, tokenizer and index.
        examples (`datasets.Dataset` or `Iterable[Mapping]`): Rows of the `examples` config, of a development split.
        frequency (`float`): Wished share of the questions that retrieve, from 0 to 1.
        output_dir (`str` or path, *optional*): Receives `settings.json` and `retrieval_probabilities.jsonl`. By
            default nothing is written. An interrupted calibration continues, and another frequency costs nothing.
        max_new_tokens, batch_size, show_progress: As for [`evaluate_rag`].

    Returns:
        [`RetrievalCalibration`]

    Raises:
        `ValueError`: As [`evaluate_rag`].

    Example:

    ```python
    >>> calibration = calibrate_retrieval(rag, load_examples("org/dataset", "dev"), frequency=0.5)
    >>> write_setting("my-checkpoint", "retrieval_threshold", calibration.chosen.threshold)
    ```
    """
    read = read_examples(examples, (passage.id for passage in rag.index))
    answering = Answering(rag, 1, 0, max_new_tokens, batch_size, retrieval="never")
    answering.check_prompts(read)
    decoder = OnePassDecoder(
        rag.index,
        rag.tokenizer,
        rag.model.onegen_config,
        max_rows=batch_size,
        retrieval="never",
        query_probability=True,
    )

    def highest(block: Sequence[EvaluationExample]) -> list[dict[str, Any]]:
        prompts = [example.prompt_ids(rag.tokenizer, rag.model.onegen_config) for example in block]
        rows = rag.engine.answer(prompts, decoder, max_new_tokens=max_new_tokens, do_sample=False)
        return [{"probability": max(decision.probability for decision in row.decisions)} for row in rows]

    settings = {**answering.settings, "task": "retrieval-threshold"}
    with evaluation_run(
        output_dir, rag.model, rag.tokenizer, rag.index, identity(read), settings, show_progress
    ) as run:
        results = run.results(PROBABILITIES_FILE, read, answering.block_size, highest)
        probabilities = [result["probability"] for result in results]
    return RetrievalCalibration(
        len(read),
        fit_retrieval_threshold(probabilities, frequency),
        [fit_retrieval_threshold(probabilities, each) for each in FREQUENCIES],
    )
