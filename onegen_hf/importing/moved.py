"""`keep_old_paths`: modules that moved can still be imported from where they were, as saved checkpoints do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _MovedModule:
    """Finds nothing but the old paths, and fills each with the attributes of the module that took its place."""

    def __init__(self, moved: Mapping[str, str]) -> None:
        self.moved = moved

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.moved else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """None: an ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        module.__getattr__ = partial(getattr, importlib.import_module(self.moved[module.__name__]))  # type: ignore


def keep_old_paths(moved: Mapping[str, str]) -> None:
    """
    Make moved modules importable from their old paths.

    Args:
        moved (`Mapping[str, str]`): Old dotted name → new one.
    """
    # At the end: what exists is found before.
    sys.meta_path.append(_MovedModule(moved))
