"""Engines that store and search vectors, behind one interface."""

from __future__ import annotations

import inspect
from typing import Any

from .base import MISSING, VectorBackend
from .faiss import FaissBackend
from .prefix import PrefixBackend
from .torch import TorchBackend

__all__ = [
    "BACKENDS",
    "MISSING",
    "FaissBackend",
    "PrefixBackend",
    "TorchBackend",
    "VectorBackend",
    "backend_options",
    "make_backend",
]

BACKENDS: dict[str, type[VectorBackend]] = {backend.name: backend for backend in (FaissBackend, TorchBackend)}
"""Name → class of every backend. A new backend is a file in this folder and an entry here."""


def make_backend(
    backend: str | type[VectorBackend] | VectorBackend, dimensions: int | None = None, **options: Any
) -> VectorBackend:
    """
    An empty backend.

    Args:
        backend (`str`, [`VectorBackend`] or subclass): A name in [`BACKENDS`], a class, or an empty backend made with
            options.
        dimensions (`int`, *optional*): Keep this many numbers of each embedding, see [`PrefixBackend`].
        options: Those of the class, such as `factory="HNSW32"`.

    Raises:
        `TypeError` or `ValueError`: If there is no such backend, it is filled already, or it has no such option.
    """
    if dimensions is not None:
        return PrefixBackend(make_backend(backend, **options), dimensions)
    if isinstance(backend, VectorBackend):
        if backend.count:
            raise ValueError(f"backend={backend!r} already holds {backend.count} vectors: give an empty one")
        if options:
            raise ValueError(f"{_named(options)} belongs to the making of a backend: leave it out, or give its name")
        return backend
    if isinstance(backend, type) and issubclass(backend, VectorBackend):
        kind = backend
    elif isinstance(backend, str) and backend in BACKENDS:
        kind = BACKENDS[backend]
    else:
        raise ValueError(
            f"backend={backend!r} is unknown: choose one of {', '.join(map(repr, BACKENDS))}, a subclass of "
            "VectorBackend, or an empty instance of one"
        )
    unknown = {name: options[name] for name in options if name not in inspect.signature(kind).parameters}
    if unknown:
        raise ValueError(f"{_named(unknown)} is no option of the {kind.name} backend: leave it out")
    return kind(**options)


def backend_options(factory: str, precision: str) -> dict[str, str]:
    """The options of a backend that are not at their defaults, which every backend has."""
    options = {"factory": (factory, "Flat"), "precision": (precision, "float32")}
    return {name: value for name, (value, default) in options.items() if value != default}


def _named(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())
