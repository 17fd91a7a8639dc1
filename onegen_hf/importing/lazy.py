"""`lazy_exports`: a package whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    The `__getattr__` and `__dir__` (PEP 562) of a package that imports what it exports on first use.

    Args:
        package (`str`): Its `__name__`.
        modules (`Mapping[str, str]`): Exported name → the module that defines it.

    Returns:
        `tuple`: `__getattr__` and `__dir__`.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return get, names
