"""What marks a label or a candidate: the constants that the collator writes and the losses read."""

from __future__ import annotations

IGNORE_INDEX = -100
"""Label of a token without a language-model loss."""


POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
"""Values of a target matrix."""
