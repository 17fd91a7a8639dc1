"""
FAISS index files that are larger than memory, written as FAISS itself would write them.

A FAISS file begins with what is trained and ends with the codes of the vectors, so it can be written from a trained
empty index and codes that are computed block by block. `faiss.contrib.ondisk` does not serve here: it keeps the lists
in a second file, which `PassageIndex.load` refuses, since a stranger's index could name any file of the machine there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..backends.faiss import try_inverted_lists
from ..backends.faiss_installation import import_faiss

Blocks = Callable[[], Iterator[np.ndarray]]
"""Starts to read the vectors, in blocks of shape `(n, dimension)`, float32."""
_COUNT = slice(8, 16)
"""Where the number of vectors stands in the header of every kind of index."""
_LISTS = b"ilar"
_ID_BYTES = 8


def write_faiss(index: Any, blocks: Blocks, count: int, path: Path) -> None:
    """
    Fill a trained empty index and write it, with the memory of one block if its kind allows it: flat indexes, with
    full vectors or scalar quantization, and clusters (IVF) of any of them or of product quantization, also behind a
    transform. Others, such as a graph (HNSW), are filled in memory.

    Args:
        index (`faiss.Index`): Trained and empty.
        blocks (`Callable`): Called once or twice.
        count (`int`): Number of vectors.
        path (`Path`)

    Raises:
        `OSError`: If the file cannot be written.
        `RuntimeError`: If FAISS cannot write or fill the index.
    """
    faiss = import_faiss()
    inner, transforms = faiss.downcast_index(index), []
    if isinstance(inner, faiss.IndexPreTransform):
        chain = inner.chain
        transforms = [faiss.downcast_VectorTransform(chain.at(place)) for place in range(chain.size())]
        inner = faiss.downcast_index(inner.index)

    def transformed() -> Iterator[np.ndarray]:
        for block in blocks():
            for transform in transforms:
                block = transform.apply(block)
            yield np.ascontiguousarray(block)

    header = bytearray(faiss.serialize_index(index).tobytes())
    outer = len(header) - len(faiss.serialize_index(inner))  # where the inner index begins
    for start in {0, outer}:
        header[start + _COUNT.start : start + _COUNT.stop] = count.to_bytes(8, "little")
    clusters = try_inverted_lists(inner)
    if isinstance(inner, (faiss.IndexFlat, faiss.IndexScalarQuantizer)):
        with open(path, "wb") as file:
            _write_codes(file, bytes(header), inner, transformed, count)
    elif clusters is not None and bytes(header[outer : outer + 4]) in (b"IwFl", b"IwSq", b"IwPQ"):
        with open(path, "wb", buffering=0) as unbuffered:
            _write_lists(unbuffered, bytes(header), clusters, transformed, count)
    else:
        for block in blocks():
            index.add(block)
        faiss.write_index(index, str(path))


def _write_codes(file: BinaryIO, header: bytes, index: Any, blocks: Blocks, count: int) -> None:
    """An empty flat index ends with the length of its codes, 0: in numbers for full vectors, else in bytes."""
    unit = np.dtype(np.float32).itemsize if isinstance(index, import_faiss().IndexFlat) else 1
    file.write(header[:-8] + (count * index.code_size // unit).to_bytes(8, "little"))
    for block in blocks():
        file.write(index.sa_encode(block).data)


def _write_lists(file: Any, header: bytes, index: Any, blocks: Blocks, count: int) -> None:
    """The lists follow what is trained: the sizes of all, then of each the codes and the rows."""
    code_size, num_lists = index.code_size, index.nlist
    start = header.rindex(_LISTS)  # of the empty lists, which are left out
    with tempfile.TemporaryFile(dir=os.path.dirname(file.name)) as assigned:
        sizes = np.zeros(num_lists, np.int64)
        for block in blocks():
            lists = index.quantizer.assign(block, 1).ravel()
            sizes += np.bincount(lists, minlength=num_lists)
            assigned.write(lists.astype("<i4").data)
        shape = np.asarray([num_lists, code_size], "<u8").tobytes() + b"full" + num_lists.to_bytes(8, "little")
        _write_all(file, header[:start] + _LISTS + shape + sizes.astype("<u8").tobytes())
        ends = file.tell() + np.cumsum(sizes) * (code_size + _ID_BYTES)
        next_code = ends - sizes * (code_size + _ID_BYTES)
        next_id = next_code + sizes * code_size
        file.truncate(int(ends[-1]))
        assigned.seek(0)
        row = 0
        for block in blocks():
            lists = np.frombuffer(assigned.read(4 * len(block)), "<i4").astype(np.int64)
            _scatter(file, _encoded(index, block, lists), lists, row, next_code, next_id)
            row += len(block)
        if row != count:
            raise RuntimeError(f"{row} vectors were read instead of {count}")


def _scatter(
    file: Any, codes: np.ndarray, lists: np.ndarray, row: int, next_code: np.ndarray, next_id: np.ndarray
) -> None:
    """Append the codes and rows of a block to their lists. Written, not mapped: mapped pages would count as memory."""
    order = np.argsort(lists, kind="stable")
    used, firsts, counts = np.unique(lists[order], return_index=True, return_counts=True)
    codes, ids = codes[order], (order + row).astype("<i8")
    for number, first, length in zip(used.tolist(), firsts.tolist(), counts.tolist(), strict=True):
        _write_at(file, codes[first : first + length], int(next_code[number]))
        _write_at(file, ids[first : first + length], int(next_id[number]))
        next_code[number] += length * codes.shape[1]
        next_id[number] += length * _ID_BYTES


def _write_at(file: Any, array: np.ndarray, position: int) -> None:
    file.seek(position)
    _write_all(file, array.data.cast("B"))


def _write_all(file: Any, content: bytes | memoryview) -> None:
    left = memoryview(content)
    while left:  # a file without a buffer may write less than it is given
        left = left[file.write(left) :]


def _encoded(index: Any, block: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """`(n, code_size)`, uint8."""
    pointer = import_faiss().swig_ptr
    codes = np.empty((len(block), index.code_size), np.uint8)
    index.encode_vectors(len(block), pointer(block), pointer(lists), pointer(codes), False)
    return codes
