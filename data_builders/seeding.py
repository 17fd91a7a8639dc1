"""Choices that depend on the given parts only, so that the same seed makes the same choice in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def seeded_number(*parts: object) -> int:
    """Turn the parts into a number that is the same in every process, unlike `hash`."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8], "big")


def pick(options: Sequence[T], *parts: object) -> T:
    """Choose one of the options by the parts."""
    return options[seeded_number(*parts) % len(options)]


def shuffled(items: Sequence[T], *parts: object) -> list[T]:
    """Bring the items into an order given by the parts."""
    order = sorted(range(len(items)), key=lambda index: seeded_number(*parts, index))
    return [items[index] for index in order]
