"""Displays answers with their retrievals as an HTML page."""

from .trace_page import trace_page

__all__ = ["trace_page"]
