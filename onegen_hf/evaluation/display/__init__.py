"""Displays an evaluation as an HTML page: scores, every failure, and how well scores tell right from wrong."""

from .page import evaluation_page, linking_page

__all__ = ["evaluation_page", "linking_page"]
