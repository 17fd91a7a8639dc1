"""A key/value cache with rows of different lengths: a batch may mix rows that retrieve and rows that do not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from ...modeling.row_attention import part_of, rows_apart

MOST_BLOCKS = 4
"""Up to this many blocks, copying blocks is cheaper than scattering single tokens."""
SPARE = 4
"""Storage that could hold this many times its rows, or their tokens, shrinks."""


class Block(NamedTuple):
    """
    Adjacent rows that add the same number of tokens at the same position.

    Args:
        first (`int`): Their first slot.
        rows (`int`): Number of rows.
        start (`int`): Tokens that each row already holds.
        size (`int`): Tokens that each row adds.
        token (`int`): Index of their first new token among all new tokens.
    """

    first: int
    rows: int
    start: int
    size: int
    token: int

    def write(self, states: Tensor, storage: Tensor) -> None:
        """
        Copy the states of this block into a layer's keys or values.

        Args:
            states (`Tensor`): Of shape `(1, heads, tokens, head_dim)`, or `(rows, heads, 1, head_dim)` if each row
                adds one token.
            storage (`Tensor` of shape `(slots, heads, capacity, head_dim)`)
        """
        if states.shape[0] > 1:
            part = states if self.rows == states.shape[0] else states.narrow(0, self.token, self.rows)
        else:
            tokens = self.rows * self.size
            part = states if tokens == states.shape[2] else states.narrow(2, self.token, tokens)
            part = rows_apart(part, self.rows)
        part_of(storage, self.first, self.rows, self.start, self.size).copy_(part)


def blocks_of(slots: list[int], starts: list[int], sizes: list[int]) -> list[Block]:
    """Group rows, sorted by slot, into blocks."""
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
    The keys and values of one layer; new states are written in place after the end of each row.

    Storage has the shape `(slots, heads, capacity, head_dim)`. It grows by doubling and shrinks with what it holds.
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
        Write the states of the packed tokens, in a shape that [`Block.write`] accepts.

        Returns:
            `tuple[Tensor, Tensor]`: The whole storage; packed attention knows each row's part of it.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        size = self.cache.slots, self.cache.capacity
        if (self.keys.shape[0], self.keys.shape[2]) != size:
            self.keys, self.values = (_resized(old, *size) for old in (self.keys, self.values))
        for block in self.cache.blocks:
            block.write(key_states, self.keys)
            block.write(value_states, self.values)
        if not self.cache.blocks:
            # The layers of a split model are on several devices.
            device = self.keys.device
            slots, positions = (places.to(device) for places in self.cache.scattered)
            apart = key_states.shape[0] > 1
            for states, storage in ((key_states, self.keys), (value_states, self.values)):
                storage[slots, :, positions] = states[:, :, 0] if apart else states[0].transpose(0, 1)
        return self.keys, self.values

    def move(self, moves: Sequence[tuple[int, int]], length: int) -> None:
        """
        Copy rows, all at once.

        Args:
            moves (`Sequence[tuple[int, int]]`): Source and target slots; a target may be the source of another move,
                and several targets may have the same source.
            length (`int`): Tokens of the longest of them.
        """
        if moves:
            sources, targets = zip(*moves, strict=True)
            if max(targets) >= self.keys.shape[0]:  # type: ignore[union-attr]
                size = self.cache.slots, self.cache.capacity
                self.keys, self.values = (_resized(old, *size) for old in (self.keys, self.values))  # type: ignore[arg-type]
            for storage in (self.keys, self.values):
                assert storage is not None
                storage[list(targets), :, :length] = storage[list(sources), :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.capacity, 0

    def get_seq_length(self) -> int:
        return max(self.cache.lengths, default=0)

    def get_max_length(self) -> int:
        return -1


def _resized(tensor: Tensor, slots: int, capacity: int) -> Tensor:
    resized = tensor.new_zeros(slots, tensor.shape[1], capacity, tensor.shape[3])
    slots, capacity = min(slots, tensor.shape[0]), min(capacity, tensor.shape[2])
    resized[:slots, :, :capacity] = tensor[:slots, :, :capacity]
    return resized


class RaggedCache(Cache):
    """
    Cache for rows of different lengths without gaps: each row occupies exactly the positions it was fed.

    Call [`~RaggedCache.extend`] before every forward with the number of tokens that each row adds. A row's keys never
    depend on other rows, so its result equals that of a batch of one.

    Args:
        slots (`int`): Number of rows to begin with.
        device (`torch.device`): Device of the model's input.
        num_layers (`int`)
        capacity (`int`, *optional*, defaults to 256): Initial number of positions per row.

    Attributes:
        lengths (`list[int]`): Tokens of each row; rows occupy the first slots.
        slots (`int`): Rows that the storage has room for.
        capacity (`int`): Positions that the storage has for each of them.
    """

    def __init__(self, slots: int, device: torch.device, num_layers: int, capacity: int = 256) -> None:
        self.lengths = [0] * slots
        self.slots = slots
        self.capacity = self.least_capacity = capacity
        self.device = device
        self.blocks: list[Block] = []
        self._places: list[list[int]] = [[], []]
        self._scattered: tuple[Tensor, Tensor] | None = None
        super().__init__(layers=[RaggedLayer(self) for _ in range(num_layers)])

    @property
    def scattered(self) -> tuple[Tensor, Tensor]:
        """Slot and position of every token of the current forward, for when tokens are not written as blocks."""
        if self._scattered is None:
            slots, positions = torch.tensor(self._places, device=self.device)
            self._scattered = slots, positions
        return self._scattered

    def storage(self) -> list[Tensor]:
        """Keys and values of all layers."""
        return [states for layer in self.layers if layer.is_initialized for states in (layer.keys, layer.values)]  # type: ignore[misc]

    @property
    def has_its_size(self) -> bool:
        """Whether the storage of all layers is as large as it is to be: the next forward does not move it."""
        size = self.slots, self.capacity
        return all(layer.is_initialized for layer in self.layers) and all(
            (states.shape[0], states.shape[2]) == size for states in self.storage()
        )

    @contextmanager
    def written_at(self, slots: Tensor, positions: Tensor) -> Iterator[None]:
        """
        Inside the block a forward of one token per row writes where these tensors say when it runs.

        Args:
            slots, positions (`Tensor` of shape `(rows,)`)
        """
        before = self.blocks, self._scattered
        self.blocks, self._scattered = [], (slots, positions)
        try:
            yield
        finally:
            self.blocks, self._scattered = before

    def extend(self, slots: list[int], sizes: list[int]) -> list[int]:
        """
        Make room for `sizes[i]` more tokens in `slots[i]`; the next forward must contain them in that order.

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

    def arrange(self, sources: Sequence[int | None]) -> None:
        """
        Choose which rows go on, and in which slots.

        Args:
            sources (`Sequence[int | None]`): For each slot from the first on, the slot whose row it holds from now on,
                or `None` for a new, empty row. Slots with the same source hold a copy each.
        """
        moves = [(source, slot) for slot, source in enumerate(sources) if source is not None and source != slot]
        self.lengths = [0 if source is None else self.lengths[source] for source in sources]
        rows, longest = len(sources), max(self.lengths, default=0)
        if rows > self.slots:
            self.slots = max(rows, 2 * self.slots)
        moved = max((self.lengths[slot] for _, slot in moves), default=0)
        for layer in self.layers:
            if layer.is_initialized:
                layer.move(moves, moved)  # type: ignore[attr-defined]
        if rows <= self.slots // SPARE:
            self.slots = 2 * rows
        while self.capacity > self.least_capacity and longest <= self.capacity // SPARE:
            self.capacity //= 2
