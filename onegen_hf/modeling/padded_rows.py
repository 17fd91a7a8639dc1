"""Rows of different sizes in one attention call, padded to the longest: fewer kernels for a GPU to launch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .causal_mask import causal_mask

FEW_GROUPS = 3
"""Up to this many calls, one for each group of rows of equal size, are cheaper than padding."""


class PaddedRows:
    """
    Where the tokens of packed rows stand once the rows are padded.

    Only attention sees the padding: everything else goes on over the packed tokens. On a GPU a decoding step takes
    the time of its kernel launches, and rows of many sizes (drafts, passages beside single tokens) would need a few
    for each of them in every layer.

    Args:
        slots (`Sequence[int]`): Of the rows, in the order of their tokens.
        starts (`Sequence[int]`): Tokens that each of them holds already.
        sizes (`Sequence[int]`): Tokens that each of them adds.
        device (`torch.device`)
    """

    def __init__(
        self, slots: Sequence[int], starts: Sequence[int], sizes: Sequence[int], device: torch.device
    ) -> None:
        self.slots, self.starts, self.sizes, self.device = slots, starts, sizes, device
        self.longest = max(sizes)
        self.visible = max(start + size for start, size in zip(starts, sizes, strict=True))
        self._masks: dict[Any, Tensor] = {}

    @cached_property
    def _table(self) -> Tensor:
        """`Tensor` of shape `(3, rows)`: first token, size, and tokens held. One copy to the device for all."""
        firsts = list(accumulate(self.sizes[:-1], initial=0))
        return torch.tensor([firsts, list(self.sizes), list(self.starts)], device=self.device)

    @cached_property
    def _steps(self) -> Tensor:
        """`Tensor` of shape `(rows, longest)`: the place of each token in its row; padding repeats the last one."""
        steps = torch.arange(self.longest, device=self.device)
        return torch.minimum(steps, self._table[1].unsqueeze(1) - 1)

    @cached_property
    def tokens(self) -> Tensor:
        """`Tensor` of shape `(rows, longest)`: indices of the packed tokens."""
        return self._table[0].unsqueeze(1) + self._steps

    @cached_property
    def places(self) -> Tensor:
        """`Tensor` of shape `(tokens,)`: the place of each packed token among the `rows * longest` padded ones."""
        places = [row * self.longest + step for row, size in enumerate(self.sizes) for step in range(size)]
        return torch.tensor(places, device=self.device)

    @cached_property
    def _slots(self) -> Tensor:
        return torch.tensor(list(self.slots), device=self.device)

    def queries(self, packed: Tensor) -> Tensor:
        """`(1, heads, tokens, head_dim)` → `(rows, heads, longest, head_dim)`."""
        return packed[0][:, self.tokens].transpose(0, 1)

    def held(self, storage: Tensor) -> Tensor:
        """`(slots, heads, capacity, head_dim)` → `(rows, heads, visible, head_dim)`, a view if the rows adjoin."""
        storage = storage.narrow(2, 0, self.visible)
        first = self.slots[0]
        if list(self.slots) == list(range(first, first + len(self.slots))):
            return storage.narrow(0, first, len(self.slots))
        return storage[self._slots.to(storage.device)]

    def packed(self, states: Tensor) -> Tensor:
        """`(rows, longest, heads, head_dim)` → `(1, tokens, heads, head_dim)`."""
        return states.flatten(0, 1)[self.places].unsqueeze(0)

    def mask(self, window: int | None, additive: torch.dtype | None) -> Tensor:
        """
        Which keys each token sees, made once per forward and kind of layer.

        Args:
            window (`int`, *optional*): Of sliding-window layers.
            additive (`torch.dtype`, *optional*): For a mask to add to the scores; a bool one by default.

        Returns:
            `Tensor` of shape `(rows, 1, longest, visible)`.
        """
        key = (window, additive)
        if key not in self._masks:
            positions = self._table[2].unsqueeze(1) + self._steps
            self._masks[key] = causal_mask(positions, self.visible, window, additive)
        return self._masks[key]
