"""Row keys are hashes: what happens when two passages have the same one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .base import PassageStore, StoredRow, batches


def refuse_shared_keys(rows: Iterable[StoredRow], store: PassageStore | None) -> None:
    """
    A database replaces the row with the key of a new one. That must be the same passage, or one would be lost.

    Args:
        rows (`Iterable[StoredRow]`): That are going to be written; iterated once.
        store ([`PassageStore`], *optional*): Where they go; `None` if nothing is there yet.

    Raises:
        `ValueError`: If two passages have the same key; names both.
    """
    keys: list[np.ndarray] = []
    references: list[str] = []
    for batch in batches(rows, 512 if store is None else store.batch_size):
        keys.append(np.asarray([row.key for row in batch], np.int64))
        references += [row.reference for row in batch]
        present = () if store is None else store.fetch(keys[-1].tolist())
        by_key = {row.key: row.reference for row in batch}
        for row in present:
            _require_equal(row.key, row.reference, by_key.get(row.key, row.reference))
    if not keys:
        return
    all_keys = np.concatenate(keys)
    order = np.argsort(all_keys, kind="stable")
    for place in np.flatnonzero(np.diff(all_keys[order]) == 0).tolist():
        first, second = order[place], order[place + 1]
        _require_equal(int(all_keys[first]), references[first], references[second])


def _require_equal(key: int, one: str, other: str) -> None:
    if one != other:
        raise ValueError(
            f"passages {one!r} and {other!r} have the same row key, {key}, which is made from their ids: give one of "
            "them another id"
        )
