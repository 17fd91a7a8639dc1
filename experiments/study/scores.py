"""What a trained model is measured by: its perplexity, its retrieval, its answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from onegen_hf import OneGenDataCollator, OneGenRagPipeline, PassageIndex
from onegen_hf.evaluation import evaluate_rag, evaluate_retrieval
from onegen_hf.evaluation.report import GOLD, RunResult
from onegen_hf.pipelines.checkpoint import where_it_is

from .data import StudyData

RETRIEVAL = ("recall@1", "recall@5", "mrr")
ANSWERS = ("recall@1", "exact_match", "f1", "hop_count_accuracy")
Interval = list[float]
"""A score with the bounds of its 95 % interval."""


@dataclass(frozen=True)
class Scores:
    """
    Attributes:
        perplexity (`float`): Of the tokens that the model writes in the held-out conversations, the passages of every
            hop being the gold ones.
        retrieval (`dict[str, Interval]`): Per hop, asked after the gold text before it.
        answers (`dict[str, Interval]`): Of answers that the model wrote with what it retrieved.
        gold_passages (`dict[str, Interval]`): Of answers with the gold passages inserted: the upper bound.
    """

    perplexity: float
    retrieval: dict[str, Interval]
    answers: dict[str, Interval]
    gold_passages: dict[str, Interval]


def score(model: Any, tokenizer: Any, data: StudyData, output_dir: Path, batch_size: int) -> Scores:
    """
    Measure a model; an interrupted measurement goes on.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        data ([`StudyData`])
        output_dir (`Path`): Receives passages' embeddings, answers and reports.
        batch_size (`int`): Questions at a time.
    """
    encoding = output_dir / "encoding"
    index = PassageIndex.build(model, tokenizer, data.searched, checkpoint_dir=encoding, show_progress=False)
    retrieval = evaluate_retrieval(
        model, tokenizer, index, data.questions, output_dir / "retrieval", k=5, batch_size=batch_size,
        show_progress=False,
    )  # fmt: skip
    rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index, **where_it_is(model))
    answers = evaluate_rag(
        rag, data.questions, output_dir / "answers",
        max_new_tokens=96, batch_size=batch_size, gold_passages=True, show_progress=False,
    )  # fmt: skip
    return Scores(
        perplexity(model, tokenizer, data, batch_size),
        intervals(retrieval.results["retrieved"], RETRIEVAL),
        intervals(answers.results["retrieved"], ANSWERS),
        intervals(answers.results[GOLD], ANSWERS[1:]),
    )


def intervals(run: RunResult, metrics: tuple[str, ...]) -> dict[str, Interval]:
    """The scores over all questions."""
    found = {name: run.all.metrics[name] for name in metrics if name in run.all.metrics}
    return {name: [round(value, 4) for value in (one.value, one.low, one.high)] for name, one in found.items()}


@torch.inference_mode()
def perplexity(model: Any, tokenizer: Any, data: StudyData, batch_size: int) -> float:
    """Of the written tokens of the held-out conversations."""
    collator = OneGenDataCollator(tokenizer, data.store(), model.onegen_config, num_hard_negatives=0)
    total, tokens = 0.0, 0
    for start in range(0, len(data.questions), batch_size):
        rows = list(data.questions.select(range(start, min(start + batch_size, len(data.questions)))))
        batch = {name: value.to(model.device) for name, value in collator(rows).items()}
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
        written = int((batch["labels"][:, 1:] != -100).sum())
        total, tokens = total + float(model(**inputs).loss_gen) * written, tokens + written
    return round(math.exp(total / tokens), 4)
