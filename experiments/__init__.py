"""Finished studies, one program each (`python -m experiments.NAME`); README.md holds what they found."""

from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
"""Where the programs keep their results and plots."""
