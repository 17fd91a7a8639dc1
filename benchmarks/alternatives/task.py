"""What every alternative is asked to do: continue prompts, retrieving on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from onegen_hf import Passage


@dataclass(frozen=True)
class Script:
    """
    An answer that is given word by word, so that all alternatives do the same work. They compute their query
    embeddings and search as ever; then the script's passage takes the place of the one found.

    Args:
        ids (`list[int]`): All that follows the prompt: generated tokens and inserted passages.
        generated (`int`): How many of them are generated.
        passages (`list[Passage]`): One per hop.
    """

    ids: list[int]
    generated: int
    passages: list[Passage]


@dataclass(frozen=True)
class Task:
    """
    A batch of prompts to answer greedily.

    Args:
        prompts (`list[list[int]]`): Token ids.
        max_new_tokens (`int`): Generated tokens of a row at most.
        max_hops (`int`): Retrievals of a row at most.
        script ([`Script`], *optional*): What all rows are made to write; without one the model is free.

    Raises:
        `ValueError`: If there is a script and the prompts differ in length: rows of a script stay in step.
    """

    prompts: list[list[int]]
    max_new_tokens: int
    max_hops: int
    script: Script | None = None

    def __post_init__(self) -> None:
        if self.script is not None and len(set(map(len, self.prompts))) > 1:
            lengths = sorted(set(map(len, self.prompts)))
            raise ValueError(f"prompts of the lengths {lengths} cannot follow one script: make them equally long")

    @classmethod
    def scripted(cls, prompts: list[list[int]], script: Script) -> Task:
        """All rows write the script."""
        return cls(prompts, script.generated, len(script.passages), script)

    @property
    def generate_options(self) -> dict[str, Any]:
        """Arguments of `generate` that are the same for all alternatives."""
        options: dict[str, Any] = {"do_sample": False, "return_dict_in_generate": True}
        if self.script is not None:
            writer = _WriteScript(self.script.ids, len(self.prompts[0]))
            options["logits_processor"] = LogitsProcessorList([writer])
        return options


class Alternative(Protocol):
    """One way to carry out a [`Task`]."""

    def __call__(self, task: Task) -> list[list[int]]:
        """
        Returns:
            `list[list[int]]`: What follows each prompt: generated tokens and inserted passages, without padding.
        """


class _WriteScript(LogitsProcessor):
    """Makes every row write the token that stands at its length in the script."""

    def __init__(self, ids: Sequence[int], prompt_length: int) -> None:
        self.ids = ids
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, self.ids[input_ids.shape[1] - self.prompt_length]] = torch.finfo(scores.dtype).max
        return scores


def left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` of rows of token ids, both of shape `(rows, longest)`."""
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[*[0] * (longest - len(row)), *row] for row in rows], device=device),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device),
    }
