"""A key/value cache whose rows have lengths of their own: a batch may mix rows that retrieve and rows that do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin


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
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        if self.keys.shape[2] < self.cache.capacity:
            self.keys, self.values = (_grown(old, self.cache.capacity) for old in (self.keys, self.values))
        # Layers of a split model lie on several devices.
        rows, columns = self.cache.rows.to(self.keys.device), self.cache.columns.to(self.keys.device)
        # Padding columns of shorter chunks write behind their row's end, where the row's next tokens overwrite them.
        index = (rows.unsqueeze(1), slice(None), columns)
        self.keys[index] = key_states.transpose(1, 2)
        self.values[index] = value_states.transpose(1, 2)
        length = self.cache.visible
        if self.cache.all_rows:
            return self.keys[:, :, :length], self.values[:, :, :length]
        return self.keys[rows, :, :length], self.values[rows, :, :length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.visible, 0

    def get_seq_length(self) -> int:
        return self.cache.visible - self.cache.chunk

    def get_max_length(self) -> int:
        return -1


def _grown(tensor: Tensor, capacity: int) -> Tensor:
    larger = tensor.new_zeros(*tensor.shape[:2], capacity, tensor.shape[3])
    larger[:, :, : tensor.shape[2]] = tensor
    return larger


class RaggedCache(Cache):
    """
    Cache for rows of unlike length without holes: each row occupies exactly the positions it was fed.

    Before every forward, [`~RaggedCache.begin`] says which rows take part and how many tokens each of them adds; after
    it, [`~RaggedCache.commit`] moves their ends. A row's keys never depend on its neighbours, so its result equals
    that of a batch of one.

    Args:
        slots (`int`): Number of rows.
        device (`torch.device`)
        num_layers (`int`)
        capacity (`int`, *optional*, defaults to 256): Positions to start with.
    """

    def __init__(self, slots: int, device: torch.device, num_layers: int, capacity: int = 256) -> None:
        self.slots = slots
        self.capacity = capacity
        self.lengths = torch.zeros(slots, dtype=torch.int64, device=device)
        self.rows = torch.arange(slots, device=device)
        self.columns = torch.zeros(slots, 0, dtype=torch.int64, device=device)
        self.visible, self.chunk, self.all_rows = 0, 0, True
        super().__init__(layers=[RaggedLayer(self) for _ in range(num_layers)])

    def begin(self, rows: list[int], chunk: int, lengths: list[int]) -> Tensor:
        """
        Prepare a forward of `chunk` columns for `rows`, which hold `lengths` tokens so far.

        Returns:
            `Tensor` of shape `(len(rows), chunk)`, int64: The position of every token.
        """
        self.all_rows = rows == list(range(self.slots))
        self.rows = torch.tensor(rows, device=self.lengths.device)
        offsets = torch.arange(chunk, device=self.lengths.device)
        self.columns = self.lengths[self.rows].unsqueeze(1) + offsets
        self.chunk = chunk
        self.visible = max(lengths) + chunk
        while self.capacity < self.visible:
            self.capacity *= 2
        return self.columns

    def commit(self, sizes: list[int]) -> None:
        """Count the real tokens of the forward, one number per row given to [`~RaggedCache.begin`]."""
        self.lengths[self.rows] += torch.tensor(sizes, device=self.lengths.device)

    def clear(self, slots: list[int]) -> None:
        """Empty these slots for new rows."""
        self.lengths[torch.tensor(slots, dtype=torch.int64, device=self.lengths.device)] = 0

    def keep(self, slots: list[int]) -> None:
        """Drop all rows but `slots`, which are renumbered in that order."""
        index = torch.tensor(slots, dtype=torch.int64, device=self.lengths.device)
        self.lengths, self.slots = self.lengths[index], len(slots)
        for layer in self.layers:
            if layer.is_initialized:
                own = index.to(layer.keys.device)
                layer.keys, layer.values = layer.keys[own], layer.values[own]
