"""Pairs of a query and its passage, made from passages alone."""
