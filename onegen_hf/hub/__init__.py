"""The Hub: what is sent there as one commit, under which names, and where it came from."""

from __future__ import annotations

import importlib
from typing import Any

from .commit import Upload
from .dataset import dataset_upload

# Models and indexes publish themselves; their names can still be imported from here.
_MOVED = {
    "KINDS": "onegen_hf.cli.push",
    "index_upload": "onegen_hf.index.publish",
    "model_upload": "onegen_hf.modeling.publish",
    "push_model": "onegen_hf.modeling.publish",
}

__all__ = ["KINDS", "Upload", "dataset_upload", "index_upload", "model_upload", "push_model"]


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return getattr(importlib.import_module(_MOVED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
