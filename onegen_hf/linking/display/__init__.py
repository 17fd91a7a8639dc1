"""Displays results of entity linking as an HTML page or in a terminal."""

from .page import mention_page
from .terminal import format_mentions, wants_color

__all__ = ["format_mentions", "mention_page", "wants_color"]
