"""Thin adapters to other frameworks, one module for each; every module needs the extra of the same name."""
