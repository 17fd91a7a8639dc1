"""Self-contained HTML pages: one stylesheet and one frame for traces, evaluations and linked mentions."""

from .page import render

__all__ = ["render"]
