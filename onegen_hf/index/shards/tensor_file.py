"""Safetensors files that are larger than memory: written piece by piece, read by mapping them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_NAMES: dict[Any, str] = {
    np.dtype("<f4"): "F32",
    np.dtype("<f2"): "F16",
    np.dtype("<i4"): "I32",
    np.dtype("<i8"): "I64",
    np.dtype("<u8"): "U64",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_ALIGNMENT = 8


def write_tensor(path: Path, name: str, blocks: Iterable[np.ndarray], shape: tuple[int, ...], dtype: str) -> None:
    """
    Write a file with one tensor, as `safetensors.numpy.save_file` would.

    Args:
        path (`Path`)
        name (`str`): Of the tensor.
        blocks (`Iterable[np.ndarray]`): Its rows, in order, in any number of pieces.
        shape (`tuple[int, ...]`): Of the whole tensor.
        dtype (`str`): Such as `"<f4"`.
    """
    num_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    entry = {"dtype": _NAMES[np.dtype(dtype)], "shape": list(shape), "data_offsets": [0, num_bytes]}
    header = json.dumps({name: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)


def mapped_tensors(path: Path) -> Mapping[str, np.ndarray]:
    """
    The tensors of a file that this package wrote, mapped: what is read of them is read from disk.

    Args:
        path (`Path`)

    Raises:
        `ValueError`: If the file is damaged.
    """
    size, tensors = path.stat().st_size, {}
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                raise ValueError(f"its header is said to have {length} bytes")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, shape = 8 + length + entry["data_offsets"][0], tuple(entry["shape"])
            dtype = _DTYPES[entry["dtype"]]
            tensors[name] = np.memmap(path, dtype, "r", start, shape) if 0 not in shape else np.empty(shape, dtype)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} is damaged ({error}): write it again") from error
    return tensors
