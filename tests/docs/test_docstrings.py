"""Docstrings in the style of Hugging Face become sections of the Google style, with links."""

from __future__ import annotations

import inspect

from docs_tools.docstrings import rewritten

TARGETS = {"BPRLoss": "onegen_hf.losses.BPRLoss", "onegen_hf.losses.BPRLoss": "onegen_hf.losses.BPRLoss"}


def rewrite(text: str) -> list[str]:
    return rewritten(inspect.cleandoc(text), TARGETS).splitlines()


def test_arguments() -> None:
    assert rewrite(
        """
        Args:
            scores (`Tensor` of shape `(n, m)`, *optional*, defaults to `None`): Similarities, which
                `scale` multiplies.
            row ([`BPRLoss`])
        """
    ) == [
        "Args:",
        "    scores (Tensor of shape [n, m]): Similarities, which",
        "        `scale` multiplies.",
        "    row (BPRLoss): &nbsp;",
    ]


def test_returns_and_raises() -> None:
    assert rewrite(
        """
        Returns:
            `tuple[int, int]`: Two numbers, of which
            `first` is the larger.

        Raises:
            `TypeError` or `ValueError`: If the first or the
                `second` is wrong.
            `OSError`: If nothing can be written.
        """
    ) == [
        "Returns:",
        "    tuple[int, int]: Two numbers, of which",
        "    `first` is the larger.",
        "",
        "Raises:",
        "    TypeError or ValueError: If the first or the",
        "        `second` is wrong.",
        "    OSError: If nothing can be written.",
    ]


def test_references() -> None:
    link = '<autoref optional identifier="onegen_hf.losses.BPRLoss">`BPRLoss`</autoref>'
    assert rewrite("See [`BPRLoss`] and [`~onegen_hf.losses.BPRLoss`].") == [f"See {link} and {link}."]
    assert rewrite("See [`~transformers.Trainer`] and [text](page.md).") == ["See `Trainer` and [text](page.md)."]
