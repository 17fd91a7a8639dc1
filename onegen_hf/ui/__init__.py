"""A page to look at: ask, chat, compare settings, browse the index, ask about texts of one's own, link entities."""

from .app import build_app, launch_options

__all__ = ["build_app", "launch_options"]
