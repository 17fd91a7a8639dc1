"""Rows that begin alike, such as prompts with the same instruction, read their common beginning once."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from typing import Any

from .memory import Memory, memory_for
from .state import RowState

LEAST_SAVING = 64
"""Tokens that have to be saved for a forward of its own to be worth it."""


def common_prefix(rows: Sequence[RowState]) -> list[int]:
    """The tokens that all rows begin with and go on after; empty where reading them apart saves too little."""
    prompts = [row.pending[:-1] for row in rows]
    prefix = list(os.path.commonprefix(prompts)) if prompts else []
    return prefix if (len(rows) - 1) * len(prefix) >= LEAST_SAVING else []


def read_prefix(model: Any, rows: Sequence[RowState], prefix: list[int], key: int) -> Memory:
    """
    Read the beginning of rows before their first forward, and take it from what is pending for them. The first row's
    usage counts it.

    Args:
        model ([`OneGenForCausalLM`])
        rows (`Sequence[RowState]`)
        prefix (`list[int]`): See [`common_prefix`].
        key (`int`): Of the prefix in the memory.

    Returns:
        [`Memory`]: With the prefix as its only row, to be forked for all rows.
    """
    memory = memory_for(model, [key])
    memory.append([key], [prefix])
    rows[0].usage.forwarded_tokens += len(prefix)
    rows[0].usage.forward_calls += 1
    for row in rows:
        row.pending = row.pending[len(prefix) :]
    return memory
