"""Evaluation of entity linking."""
