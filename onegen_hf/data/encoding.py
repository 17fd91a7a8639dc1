"""`encode_dataset`: the examples of a training become token ids once, before it starts."""

from __future__ import annotations

from typing import Any

from datasets import Dataset, Features, List, Value

from ..checks import shown
from .collator import OneGenDataCollator

# Spelled out, because the first thousand rows may hold nothing but empty lists.
ENCODED_FEATURES = Features(
    {
        "input_ids": List(Value("int64")),
        "labels": List(Value("int64")),
        "query_positions": List(Value("int64")),
        "positives": List(List(Value("string"))),
        "negatives": List(List(Value("string"))),
        "queries": List(Value("string")),
        "length": Value("int64"),
    }
)
"""Columns of an encoded example."""


def encode_dataset(dataset: Any, collator: OneGenDataCollator, name: str = "train_dataset") -> Any:
    """
    Encode rows of messages once, with a progress bar; streams, lists and encoded rows are left to the collator.

    Args:
        dataset (`datasets.Dataset`, a dictionary of them, or another collection of rows, *optional*)
        collator ([`OneGenDataCollator`])
        name (`str`, *optional*, defaults to `"train_dataset"`): For messages.

    Raises:
        `TypeError`: For a name, or a data frame.
        `ValueError`: If it has no rows, or columns that are not those of examples.
    """
    if isinstance(dataset, dict):
        return {key: encode_dataset(part, collator, f"{name}[{key!r}]") for key, part in dataset.items()}
    if isinstance(dataset, str) or hasattr(dataset, "dtypes"):
        raise TypeError(
            f"{name} is a {type(dataset).__name__}: give rows of the `examples` configuration, as "
            "`onegen_hf.data.loading.load_examples` reads them"
        )
    if dataset is not None and not hasattr(dataset, "__getitem__") and not hasattr(dataset, "__iter__"):
        raise TypeError(
            f"{name}={shown(dataset)} is a {type(dataset).__name__}: give rows of the `examples` configuration"
        )
    if not isinstance(dataset, Dataset):
        return dataset
    if len(dataset) == 0:
        raise ValueError(f"{name} has no examples: choose another split, or check the files that it was read from")
    if "messages" not in dataset.column_names:
        if type(collator) is OneGenDataCollator and "input_ids" not in dataset.column_names:
            raise ValueError(
                f"{name} has the columns {dataset.column_names} and no `messages`: give rows of the `examples` "
                "configuration; passages go into `documents`"
            )
        return dataset
    removed = [name for name in dataset.column_names if name not in ENCODED_FEATURES]
    # Not cached on disk: a cache that a changed template or length does not invalidate is worse than a minute of work.
    return dataset.map(
        collator.encode_example,
        remove_columns=removed,
        features=ENCODED_FEATURES if type(collator) is OneGenDataCollator else None,
        desc="Encoding examples",
        load_from_cache_file=False,
    )


def one_split(dataset: Any) -> Any:
    """The dataset, unless it is several (`TypeError`)."""
    if isinstance(dataset, dict):
        raise TypeError(f"train_dataset is a mapping with the keys {sorted(map(str, dataset))}: give one split of it")
    return dataset
