"""Checks a FAISS file from its header to its last byte, before FAISS reads it and believes what it declares."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .base import MISSING

_MAX_DIMENSION = 2**16
_MAX_DEPTH = 6
_MAX_CANDIDATES = 2**20
"""FAISS allocates memory in proportion to the candidates of a graph and of a refinement."""
_INNER_PRODUCT = 0
# Bits per component and number of trained values, by the type of a scalar quantizer.
_SCALAR_BITS = {0: 8, 1: 4, 2: 8, 3: 4, 4: 16, 5: 8, 6: 6, 7: 16, 8: 8}
_SCALAR_TRAINED: dict[int, Callable[[int], int]] = {
    0: lambda d: 2 * d, 1: lambda d: 2 * d, 6: lambda d: 2 * d, 2: lambda d: 2, 3: lambda d: 2
}  # fmt: skip
_BLOCK = 2**22


class UnknownKindError(Exception):
    """A kind of FAISS index, or of one of its parts, that is not described here."""


class DamagedError(Exception):
    """A file that declares what it does not hold, or holds what FAISS must not read."""


@dataclass(frozen=True)
class _Shape:
    dimension: int
    count: int


def check_structure(path: Path) -> None:
    """
    Walk through a FAISS file: sizes, counts and references between its parts must agree.

    FAISS allocates what a header asks for, and its mapped reader checks no bounds, so a few changed bytes can end the
    process or fill its memory. What is checked here is all that FAISS follows while it loads and searches: lengths,
    dimensions, the links of a graph, the rows of clusters, tables of quantizers. Vectors and codes are not read.

    Args:
        path (`Path`)

    Raises:
        [`DamagedError`]: If the file does not hold together.
        [`UnknownKindError`]: If it holds a kind of index that is not described here, which need not be damage.
        `OSError`: If it cannot be read.
    """
    with open(path, "rb") as file:
        walk = _Walk(file, os.path.getsize(path))
        walk.index(depth=0)
        if walk.position != walk.size:
            raise DamagedError(f"{walk.size - walk.position} bytes follow its end")


class _Walk:
    """A position in the file, moved on by what has been checked."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.position = file, size, 0

    # Values.

    def bytes(self, length: int) -> bytes:
        self.skip(length)
        self.file.seek(self.position - length)
        content = self.file.read(length)
        if len(content) != length:
            raise DamagedError("it changed while it was read")
        return content

    def skip(self, length: int) -> None:
        if not 0 <= length <= self.size - self.position:
            raise DamagedError(f"{length} bytes are declared at byte {self.position}, and {self.left} are left")
        self.position += length

    @property
    def left(self) -> int:
        return self.size - self.position

    def value(self, dtype: str) -> Any:
        return np.frombuffer(self.bytes(np.dtype(dtype).itemsize), dtype)[0].item()

    def flag(self, what: str) -> bool:
        value = self.value("u1")
        require(value in (0, 1), f"{what} is {value}, neither 0 nor 1")
        return bool(value)

    def code(self) -> str:
        return self.bytes(4).decode("latin-1")

    def array(self, dtype: str, length: int, what: str) -> np.ndarray:
        """A vector that is read: its declared length must be the expected one."""
        declared = self.value("u8")
        require(declared == length, f"{what} has {declared} entries instead of {length}")
        return np.frombuffer(self.bytes(length * np.dtype(dtype).itemsize), dtype)

    def finite(self, length: int, what: str) -> None:
        require(bool(np.isfinite(self.array("<f4", length, what)).all()), f"{what} holds NaN or infinite values")

    def skipped(self, length: int, what: str, unit: int = 1) -> None:
        """A vector that is not read."""
        declared = self.value("u8") * unit
        require(declared == length, f"{what} take {declared} bytes instead of {length}")
        self.skip(length)

    # Indexes.

    def index(self, depth: int) -> _Shape:
        require(depth < _MAX_DEPTH, "it is nested too deeply")
        kind = self.code()
        if kind == "IxPT":
            return self.transformed(depth)
        kinds: dict[str, Callable[[_Shape, int], None]] = {
            "IxFI": self.flat,
            "IxSQ": self.scalar_codes,
            "IxPq": self.product_codes,
            "IxRF": self.refined,
            "IHNf": self.graph,
            "IHNs": self.graph,
            "IwFl": self.clusters_of_vectors,
            "IwSq": self.clusters_of_scalar_codes,
            "IwPQ": self.clusters_of_product_codes,
        }
        if kind not in kinds:
            raise UnknownKindError(kind)
        shape = self.header()
        kinds[kind](shape, depth)
        return shape

    def header(self) -> _Shape:
        dimension, count = self.value("<i4"), self.value("<i8")
        self.skip(16)  # two numbers without a meaning
        trained, metric = self.value("u1"), self.value("<i4")
        require(metric == _INNER_PRODUCT, f"it does not compare by inner product (FAISS metric type {metric})")
        require(trained == 1, "it is not trained")
        require(1 <= dimension <= _MAX_DIMENSION, f"its dimension is {dimension}")
        require(count >= 0, f"its number of rows is {count}")
        return _Shape(dimension, count)

    def inner(self, expected: _Shape, depth: int, what: str) -> None:
        shape = self.index(depth + 1)
        require(shape == expected, f"its {what} is {shape} instead of {expected}")

    def flat(self, shape: _Shape, depth: int) -> None:
        self.skipped(shape.count * shape.dimension * 4, "its vectors", unit=4)

    def scalar_codes(self, shape: _Shape, depth: int) -> None:
        size = self.scalar_quantizer(shape.dimension)
        self.skipped(shape.count * size, "its codes")

    def product_codes(self, shape: _Shape, depth: int) -> None:
        size = self.product_quantizer(shape.dimension)
        self.skipped(shape.count * size, "its codes")
        kind, _, threshold = self.value("<i4"), self.flag("encode_signs"), self.value("<i4")
        require(kind in (0, 4), f"its search type is {kind}")  # plain, or with the polysemous filter `ht`
        require(threshold >= 0, f"its polysemous threshold is {threshold}")

    def refined(self, shape: _Shape, depth: int) -> None:
        self.inner(shape, depth, "base")
        self.inner(shape, depth, "refinement")
        factor = self.value("<f4")
        require(1 <= factor <= _MAX_CANDIDATES, f"its k_factor is {factor}")

    def transformed(self, depth: int) -> _Shape:
        shape = self.header()
        length = self.value("<i4")
        require(0 <= length <= 16, f"it has {length} transforms")
        dimension = shape.dimension
        for _ in range(length):
            dimension = self.transform(dimension)
        self.inner(_Shape(dimension, shape.count), depth, "index behind the transforms")
        return shape

    def graph(self, shape: _Shape, depth: int) -> None:
        levels_known = self.value("u8")
        require(1 <= levels_known <= 64, f"its graph knows {levels_known} levels")
        chances = np.frombuffer(self.bytes(levels_known * 8), "<f8")
        require(bool(((chances >= 0) & (chances <= 1)).all()), "its chances of a level are none")
        # Links of a node up to each level: 2 m on the lowest, m on the others.
        until = self.array("<i4", levels_known + 1, "its links per level").astype(np.int64)
        m = int(until[1]) // 2
        expected = np.concatenate([[0], m * np.arange(2, levels_known + 2)])
        require(1 <= m <= 2**12 and np.array_equal(until, expected), "its links per level are no steps of one size")
        levels = self.array("<i4", shape.count, "its levels")
        require(bool(((levels >= 1) & (levels <= levels_known)).all()), "a node is on a level that there is not")
        offsets = self.array("<u8", shape.count + 1, "its offsets")
        require(
            np.array_equal(offsets, np.concatenate([[0], np.cumsum(until[levels])]).astype(np.uint64)),
            "its offsets do not go with its levels",
        )
        self.links(levels, offsets.astype(np.int64), until)
        entry, highest = self.value("<i4"), self.value("<i4")
        construction, search, _ = self.value("<i4"), self.value("<i4"), self.value("<i4")
        if shape.count:
            require(0 <= entry < shape.count, f"its entry point is {entry}")
            require(highest == levels[entry] - 1 == levels.max() - 1, "its entry point is not on the highest level")
        for name, candidates in (("efConstruction", construction), ("efSearch", search)):
            require(1 <= candidates <= _MAX_CANDIDATES, f"its {name} is {candidates}")
        self.inner(shape, depth, "storage")

    def links(self, levels: np.ndarray, offsets: np.ndarray, until: np.ndarray) -> None:
        declared, expected, count = self.value("u8"), int(offsets[-1]), len(levels)
        require(declared == expected, f"its graph has {declared} links instead of {expected}")
        start = self.position
        self.skip(expected * 4)
        self.file.seek(start)
        for _ in range(0, expected, _BLOCK):
            block = np.fromfile(self.file, "<i4", min(_BLOCK, expected))
            require(
                bool(((block >= MISSING) & (block < count)).all()), "a link of its graph leads to a row there is not"
            )
        # A link on a higher level leads to a node that is there as well: FAISS reads the links of it without a look.
        for node in np.flatnonzero(levels > 1):
            self.file.seek(start + int(offsets[node]) * 4)
            own = np.fromfile(self.file, "<i4", int(until[levels[node]]))
            for level in range(1, int(levels[node])):
                others = own[until[level] : until[level + 1]]
                others = others[others != MISSING]
                require(bool((levels[others] > level).all()), "a link of its graph leads to a level there is not")

    # Clusters.

    def clusters(self, shape: _Shape, depth: int) -> int:
        count, probes = self.value("u8"), self.value("u8")
        require(1 <= count <= self.size, f"it has {count} clusters")
        require(1 <= probes, "it searches no cluster")
        self.inner(_Shape(shape.dimension, count), depth, "quantizer")
        kind, length = self.value("u1"), self.value("u8")
        if kind or length:
            raise UnknownKindError("a direct map")
        return count

    def clusters_of_vectors(self, shape: _Shape, depth: int) -> None:
        self.lists(self.clusters(shape, depth), 4 * shape.dimension, shape)

    def clusters_of_scalar_codes(self, shape: _Shape, depth: int) -> None:
        clusters = self.clusters(shape, depth)
        size, declared = self.scalar_quantizer(shape.dimension), self.value("u8")
        require(declared == size, f"its codes have {declared} bytes instead of {size}")
        self.flag("by_residual")
        self.lists(clusters, size, shape)

    def clusters_of_product_codes(self, shape: _Shape, depth: int) -> None:
        clusters = self.clusters(shape, depth)
        self.flag("by_residual")
        declared, size = self.value("u8"), self.product_quantizer(shape.dimension)
        require(declared == size, f"its codes have {declared} bytes instead of {size}")
        self.lists(clusters, size, shape)

    def lists(self, clusters: int, size: int, shape: _Shape) -> None:
        kind = self.code()
        if kind != "ilar":
            raise UnknownKindError(kind)
        declared, code_size, form = self.value("u8"), self.value("u8"), self.code()
        require(declared == clusters, f"it has {declared} lists for {clusters} clusters")
        require(code_size == size, f"its codes have {code_size} bytes instead of {size}")
        if form == "full":
            lengths = self.array("<u8", clusters, "its lengths of lists")
        elif form == "sprs":
            length = self.value("u8")
            require(length % 2 == 0 and length <= 2 * clusters, f"{length} numbers describe its {clusters} lists")
            pairs = np.frombuffer(self.bytes(length * 8), "<u8").reshape(-1, 2)
            require(bool((pairs[:, 0] < clusters).all()), "a list has no cluster")
            require(bool((np.diff(pairs[:, 0].astype(np.int64)) > 0).all()), "two lists belong to one cluster")
            lengths = pairs[:, 1]
        else:
            raise UnknownKindError(form)
        require(bool((lengths <= shape.count).all()), "a list is longer than the index")
        require(
            int(lengths.sum()) == shape.count, f"its lists have {int(lengths.sum())} rows instead of {shape.count}"
        )
        seen = np.zeros(shape.count, bool)
        for length in lengths[lengths > 0].tolist():
            self.skip(length * size)
            rows = np.frombuffer(self.bytes(length * 8), "<i8")
            require(bool(((rows >= 0) & (rows < shape.count)).all()), "a list names a row there is not")
            seen[rows] = True
        require(bool(seen.all()), "its lists name a row twice")

    # Quantizers and transforms.

    def scalar_quantizer(self, dimension: int) -> int:
        """Returns the size of a code."""
        kind, _, _ = self.value("<i4"), self.value("<i4"), self.value("<f4")
        own, size = self.value("u8"), self.value("u8")
        if kind not in _SCALAR_BITS:
            raise UnknownKindError(f"scalar quantizer {kind}")
        expected = (dimension * _SCALAR_BITS[kind] + 7) // 8
        require(own == dimension, f"its scalar quantizer has dimension {own} instead of {dimension}")
        require(size == expected, f"its scalar quantizer has codes of {size} bytes instead of {expected}")
        self.finite(_SCALAR_TRAINED.get(kind, lambda d: 0)(dimension), "its scalar quantizer")
        return expected

    def product_quantizer(self, dimension: int) -> int:
        """Returns the size of a code."""
        own, parts, bits = self.value("u8"), self.value("u8"), self.value("u8")
        require(own == dimension, f"its product quantizer has dimension {own} instead of {dimension}")
        require(1 <= parts <= dimension and dimension % parts == 0, f"its product quantizer has {parts} parts")
        require(1 <= bits <= 24, f"its product quantizer has {bits} bits")
        self.finite(dimension * 2**bits, "its product quantizer")
        return (parts * bits + 7) // 8

    def transform(self, dimension: int) -> int:
        """Returns the dimension behind it."""
        kind = self.code()
        linear = kind in ("LTra", "rrot", "Pcam")
        if kind == "Pcam":
            self.skip(4 + 4 + 1 + 4)  # how it was trained
            for length in (dimension, None, None):  # mean, eigenvalues, and all components, of which `A` is made
                self.finite(self.peek() if length is None else length, "its principal components")
        if linear:
            biased = self.flag("have_bias")
            entries = self.peek()
            require(entries % dimension == 0, f"its transform has {entries} entries for dimension {dimension}")
            behind = entries // dimension
            self.finite(entries, "its transform")
            offset = self.peek()
            require(
                offset == behind or (offset == 0 and not biased), f"its transform has an offset of {offset} entries"
            )
            self.finite(offset, "its transform")
        elif kind == "VNrm":
            power, behind = self.value("<f4"), dimension
            require(power == 2, f"it normalises by the power of {power}")
        else:
            raise UnknownKindError(kind)
        before, after, trained = self.value("<i4"), self.value("<i4"), self.value("u1")
        require(before == dimension, f"its transform takes dimension {before} instead of {dimension}")
        require(1 <= after == behind, f"its transform gives dimension {after} instead of {behind}")
        require(trained == 1, "its transform is not trained")
        return after

    def peek(self) -> int:
        """The length of the vector that comes next."""
        length = int(self.value("u8"))
        self.position -= 8
        return length


def require(condition: bool, otherwise: str) -> None:
    """Raises [`DamagedError`] unless a condition holds."""
    if not condition:
        raise DamagedError(otherwise)
