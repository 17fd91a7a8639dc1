"""`check_something_to_learn`: a training set in which nothing carries a loss is refused before the first step."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from ..data.targets import IGNORE_INDEX
from .arguments import OneGenTrainingArguments


def check_something_to_learn(dataset: Any, args: OneGenTrainingArguments) -> None:
    """
    Look for the first example that a loss applies to.

    Args:
        dataset (`datasets.Dataset` or another collection): As [`encode_dataset`] returns it. A stream is not read.
        args ([`OneGenTrainingArguments`])

    Raises:
        `ValueError`: If no example has a token to predict, or, with `lambda_gen=0`, a query token with a positive.
    """
    wanted = "labels" if args.lambda_gen else "positives"
    if not isinstance(dataset, Dataset) or wanted not in dataset.column_names:
        return
    for batch in dataset.select_columns(wanted).iter(batch_size=256):
        if any(_has_label(row) if args.lambda_gen else any(row) for row in batch[wanted]):
            return
    missing = "a token to predict" if args.lambda_gen else "a query token with a positive, and lambda_gen=0"
    raise ValueError(
        f"none of the {len(dataset)} training examples has {missing}, so there is nothing to learn: raise "
        f"max_length={args.max_length}, which cuts the examples, or check their assistant turns and positives"
    )


def _has_label(labels: list[int]) -> bool:
    return any(label != IGNORE_INDEX for label in labels[1:])  # nothing stands before the first token
