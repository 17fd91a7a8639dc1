"""`KeyedRows`: rows of numbers by the text that they belong to, kept as tensors that processes can share."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...data.documents import stable_key
from ...files import atomic_file

logger = logging.getLogger(__name__)

_NO_TEXT = "\0"


def text_keys(texts: Iterable[str | None]) -> Tensor:
    """The keys of texts: `Tensor` of shape `(n,)`, int64. `None` has a key that no text has."""
    return torch.tensor([stable_key(_NO_TEXT if text is None else text) for text in texts], dtype=torch.int64)


@dataclass(frozen=True)
class KeyedRows:
    """
    A table with one row of numbers per key.

    Args:
        keys (`Tensor` of shape `(n,)`, int64): Ascending.
        rows (`Tensor` of shape `(n, width)`)
    """

    keys: Tensor
    rows: Tensor

    @classmethod
    def empty(cls) -> KeyedRows:
        """A table without rows, of width 0."""
        return cls(torch.empty(0, dtype=torch.int64), torch.empty(0, 0))

    def has(self, keys: Tensor) -> Tensor:
        """Which keys have a row: `Tensor` of the keys' shape, bool."""
        return torch.isin(keys, self.keys)

    def __getitem__(self, keys: Tensor) -> Tensor:
        """The rows of keys of shape `(n,)`: `Tensor` of shape `(n, width)`, float32, NaN where there is none."""
        if not len(self.keys):
            return torch.full((len(keys), self.rows.shape[1]), torch.nan)
        places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        unknown = self.keys[places] != keys
        return self.rows[places].float().masked_fill(unknown.unsqueeze(1), torch.nan)

    def extended(self, keys: Tensor, compute: Callable[[list[int]], Tensor]) -> KeyedRows:
        """
        The table with further rows.

        Args:
            keys (`Tensor` of shape `(n,)`, int64): Of all rows that are needed.
            compute (`Callable`): Takes the places in `keys` of those that are missing, each once, and returns their
                rows. Not called where none is missing.
        """
        first: dict[int, int] = {}
        for place, (key, is_known) in enumerate(zip(keys.tolist(), self.has(keys).tolist(), strict=True)):
            if not is_known:
                first.setdefault(key, place)
        if not first:
            return self
        places = list(first.values())
        rows = compute(places)
        joined = torch.cat([self.keys, keys[places]])
        order = joined.argsort()
        all_rows = torch.cat([self.rows, rows]) if len(self.keys) else rows
        return KeyedRows(joined[order], all_rows[order])


def save_tables(file: Path, tables: dict[str, KeyedRows], about: dict[str, Any]) -> None:
    """
    Write tables into one safetensors file, in one step.

    Args:
        file (`Path`): Its folder is made.
        tables (`dict[str, KeyedRows]`)
        about (`dict[str, Any]`): Where they come from, kept as JSON in the file's metadata.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"{name}.{part}": getattr(table, part) for name, table in tables.items() for part in ("keys", "rows")}
    with atomic_file(file, SafetensorError) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def load_tables(file: Path, about: dict[str, Any] | None = None) -> dict[str, KeyedRows]:
    """
    Read what [`save_tables`] wrote.

    Args:
        file (`Path`)
        about (`dict[str, Any]`, *optional*): Read only tables that come from there.

    Returns:
        `dict[str, KeyedRows]`: Empty if there is no file, if it cannot be read or comes from elsewhere.
    """
    if not file.is_file():
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            written = json.loads((opened.metadata() or {})["about"])
            names = sorted({name.rpartition(".")[0] for name in opened.keys()})  # noqa: SIM118
            if about is not None and written != about:
                logger.warning("%s holds the scores of another teacher: they are computed again", file)
                return {}
            return {
                name: KeyedRows(opened.get_tensor(f"{name}.keys"), opened.get_tensor(f"{name}.rows")) for name in names
            }
    except (SafetensorError, KeyError, ValueError) as error:
        logger.warning("%s cannot be read (%s): its scores are computed again", file, error)
        return {}


def distinct_texts(texts: Sequence[str | None]) -> list[str]:
    """Each text once, in order, without `None`."""
    return list(dict.fromkeys(text for text in texts if text is not None))
