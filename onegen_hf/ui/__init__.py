"""A page to look at: ask, chat, compare settings, browse the index, ask about texts of one's own, link entities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..importing import lazy_exports

if TYPE_CHECKING:
    from .app import build_app, launch_options

__all__ = ["build_app", "launch_options"]

# Gradio is imported with the app, not with the parts that need none.
__getattr__, __dir__ = lazy_exports(__name__, {"build_app": "onegen_hf.ui.app", "launch_options": "onegen_hf.ui.app"})
