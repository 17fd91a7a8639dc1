"""Programs that guard a promise of the library, one per question; README.md holds what they measured."""

from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
"""Where the programs keep their results and plots."""
