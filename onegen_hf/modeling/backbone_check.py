"""What embeddings ask of a backbone, tried on a tiny twin: causal attention, and padding that changes nothing."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .tiny_twin import tiny_twin

TOLERANCE = 1e-3
"""Of hidden states in float32, relative to their size."""
_ROWS = ([3, 9, 4, 17, 5, 22], [7, 12])
_harmless: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
_causal: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def check_causal(model: Any) -> None:
    """
    Make sure that no token sees the ones after it.

    Args:
        model ([`OneGenForCausalLM`])

    Raises:
        `ValueError`: If one does, as in an encoder with a language-model head.
    """
    twin = tiny_twin(model)
    if twin is None:
        return
    if twin not in _causal:
        row = _ROWS[0]
        _causal[twin] = _close(_last_state(twin, [row[:3]], [2])[0], _last_state(twin, [row], [2])[0])
    if not _causal[twin]:
        raise ValueError(
            f"{type(model).__name__} reads ahead: its tokens see those after them, so it can't generate. Load it with "
            "is_decoder=True if it is an encoder that can be used as a decoder, or choose another backbone."
        )


def padding_is_harmless(model: Any) -> bool:
    """
    Whether a row with padding on the right has the states of the row alone. Where it has not, rows of one length are
    run together.

    Args:
        model ([`OneGenForCausalLM`])
    """
    twin = tiny_twin(model)
    if twin is None:
        return True
    if twin not in _harmless:
        last = [len(row) - 1 for row in _ROWS]
        together = _last_state(twin, list(_ROWS), last)
        alone = [_last_state(twin, [row], [len(row) - 1])[0] for row in _ROWS]
        _harmless[twin] = all(_close(one, other) for one, other in zip(together, alone, strict=True))
    return _harmless[twin]


@torch.no_grad()
def _last_state(twin: Any, rows: list[list[int]], positions: list[int]) -> Tensor:
    """Hidden states `(rows, hidden)` at one position of each row, padded on the right."""
    width = max(map(len, rows))
    input_ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[*[1] * len(row), *[0] * (width - len(row))] for row in rows])
    output = twin(
        input_ids, attention_mask=mask, use_cache=False, retrieval_positions=[[position] for position in positions]
    )
    return output.retrieval_embeddings[:, 0]


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).norm() <= TOLERANCE * other.norm())
