"""The Hub: what is sent there as one commit, under which names, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..importing import lazy_exports

if TYPE_CHECKING:
    from .commit import Upload
    from .dataset import dataset_upload

__all__ = ["KINDS", "Upload", "dataset_upload", "index_upload", "model_upload", "push_model"]

# The names of files are read by commands that need no more. Models and indexes publish themselves; their names can
# still be imported from here.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "KINDS": "onegen_hf.cli.push",
        "Upload": "onegen_hf.hub.commit",
        "dataset_upload": "onegen_hf.hub.dataset",
        "index_upload": "onegen_hf.index.publish",
        "model_upload": "onegen_hf.modeling.publish",
        "push_model": "onegen_hf.modeling.publish",
    },
)
