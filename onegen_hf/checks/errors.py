"""`LoadingError`: an error that `pipeline` of transformers passes on."""

from __future__ import annotations


class LoadingError(Exception):
    """
    A checkpoint cannot be loaded as requested, and must not be loaded in any other way.

    `pipeline` takes a `ValueError`, `TypeError`, `OSError` or `RuntimeError` to mean that the device lacks the dtype,
    or that another class fits the checkpoint: it then loads in float32, or the plain model, and the reason is lost.
    """
