"""A key/value cache whose rows have lengths of their own: a batch may mix rows that retrieve and rows that do not."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from ...modeling.row_attention import part_of, rows_apart

MOST_BLOCKS = 4
"""Copies of blocks up to which they are cheaper than scattering tokens one by one."""


class Block(NamedTuple):
    """
    Neighbouring rows that add equally many tokens at the same position.

    Args:
        first (`int`): Their first slot.
        rows (`int`): How many.
        start (`int`): Tokens that each of them holds already.
        size (`int`): Tokens that each of them adds.
        token (`int`): Place of their first new token among all new ones.
    """

    first: int
    rows: int
    start: int
    size: int
    token: int

    def write(self, states: Tensor, storage: Tensor) -> None:
        """
        Copy their part of states into a layer's keys or values.

        Args:
            states (`Tensor`): Of shape `(1, heads, tokens, head_dim)`, or `(rows, heads, 1, head_dim)` where each row
                adds a token.
            storage (`Tensor` of shape `(slots, heads, capacity, head_dim)`)
        """
        if states.shape[0] > 1:
            own = states if self.rows == states.shape[0] else states.narrow(0, self.token, self.rows)
        else:
            tokens = self.rows * self.size
            own = states if tokens == states.shape[2] else states.narrow(2, self.token, tokens)
            own = rows_apart(own, self.rows)
        part_of(storage, self.first, self.rows, self.start, self.size).copy_(own)


def blocks_of(slots: list[int], starts: list[int], sizes: list[int]) -> list[Block]:
    """The blocks of rows given in ascending order of their slots."""
    blocks: list[Block] = []
    token = 0
    for slot, start, size in zip(slots, starts, sizes, strict=True):
        last = blocks[-1] if blocks else None
        if last is not None and (last.first + last.rows, last.start, last.size) == (slot, start, size):
            blocks[-1] = last._replace(rows=last.rows + 1)
        else:
            blocks.append(Block(slot, 1, start, size, token))
        token += size
    return blocks


class RaggedLayer(CacheLayerMixin):
    """
    One layer's keys and values, written in place behind each row's own end.

    Storage has the shape `(slots, heads, capacity, head_dim)` and grows by doubling.
    """

    is_sliding = False

    def __init__(self, cache: RaggedCache) -> None:
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        shape = (self.cache.slots, key_states.shape[1], self.cache.capacity)
        self.keys = key_states.new_zeros(*shape, key_states.shape[3])
        self.values = value_states.new_zeros(*shape, value_states.shape[3])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """
        Write the states of the packed tokens, of a shape that [`Block.write`] takes.

        Returns:
            `tuple[Tensor, Tensor]`: The whole storage; packed attention knows each row's part of it.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        if self.keys.shape[2] < self.cache.capacity:
            self.keys, self.values = (_grown(old, self.cache.capacity) for old in (self.keys, self.values))
        for block in self.cache.blocks:
            block.write(key_states, self.keys)
            block.write(value_states, self.values)
        if not self.cache.blocks:
            # Layers of a split model lie on several devices.
            device = self.keys.device
            slots, positions = (places.to(device) for places in self.cache.scattered)
            apart = key_states.shape[0] > 1
            for states, storage in ((key_states, self.keys), (value_states, self.values)):
                storage[slots, :, positions] = states[:, :, 0] if apart else states[0].transpose(0, 1)
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.capacity, 0

    def get_seq_length(self) -> int:
        return max(self.cache.lengths, default=0)

    def get_max_length(self) -> int:
        return -1


def _grown(tensor: Tensor, capacity: int) -> Tensor:
    larger = tensor.new_zeros(*tensor.shape[:2], capacity, tensor.shape[3])
    larger[:, :, : tensor.shape[2]] = tensor
    return larger


class RaggedCache(Cache):
    """
    Cache for rows of unlike length without holes: each row occupies exactly the positions it was fed.

    Before every forward, [`~RaggedCache.extend`] says which rows add how many tokens. A row's keys never depend on its
    neighbours, so its result equals that of a batch of one.

    Args:
        slots (`int`): Number of rows.
        device (`torch.device`): Of the model's input.
        num_layers (`int`)
        capacity (`int`, *optional*, defaults to 256): Positions to start with.
    """

    def __init__(self, slots: int, device: torch.device, num_layers: int, capacity: int = 256) -> None:
        self.lengths = [0] * slots
        self.capacity = capacity
        self.device = device
        self.blocks: list[Block] = []
        self._places: list[list[int]] = [[], []]
        self._scattered: tuple[Tensor, Tensor] | None = None
        super().__init__(layers=[RaggedLayer(self) for _ in range(num_layers)])

    @property
    def slots(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def scattered(self) -> tuple[Tensor, Tensor]:
        """Slot and position of every token that the running forward brings, where they are not written as blocks."""
        if self._scattered is None:
            slots, positions = torch.tensor(self._places, device=self.device)
            self._scattered = slots, positions
        return self._scattered

    def extend(self, slots: list[int], sizes: list[int]) -> list[int]:
        """
        Make room for `sizes[i]` more tokens of the row in `slots[i]`; the next forward must bring them in that order.

        Returns:
            `list[int]`: The position of every token in its row.
        """
        blocks = blocks_of(slots, [self.lengths[slot] for slot in slots], sizes)
        self.blocks = blocks if len(blocks) <= MOST_BLOCKS else []
        slot_of_token: list[int] = []
        positions: list[int] = []
        for slot, size in zip(slots, sizes, strict=True):
            slot_of_token += [slot] * size
            positions += range(self.lengths[slot], self.lengths[slot] + size)
            self.lengths[slot] += size
        self._places, self._scattered = [slot_of_token, positions], None
        while self.capacity < max(self.lengths):
            self.capacity *= 2
        return positions

    def clear(self, slots: list[int]) -> None:
        """Empty these slots for new rows."""
        for slot in slots:
            self.lengths[slot] = 0

    def keep(self, slots: list[int]) -> None:
        """Drop all rows but `slots`, which are renumbered in that order."""
        self.lengths = [self.lengths[slot] for slot in slots]
        index = torch.tensor(slots, dtype=torch.int64, device=self.device)
        for layer in self.layers:
            if layer.is_initialized:
                own = index.to(layer.keys.device)
                layer.keys, layer.values = layer.keys[own], layer.values[own]
