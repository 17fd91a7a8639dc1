"""Drawing a part of the examples in which rare kinds are not drowned by common ones."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from data_builders.seeding import shuffled


def kind_of(example: Mapping[str, Any]) -> str:
    """
    The kind of an example: its `template`, or else its `type`.

    Args:
        example (`Mapping[str, Any]`):
            A record of the `examples` config.

    Returns:
        `str`: The kind; `"None"` where `meta` names neither.
    """
    meta = json.loads(example["meta"])
    return str(meta.get("template") or meta.get("type"))


def balanced_rows(kinds: Sequence[str], size: int, seed: int = 0) -> list[int]:
    """
    Draw examples so that each kind's share goes with the square root of its number.

    Args:
        kinds (`Sequence[str]`):
            The kind of each example, see [`kind_of`].
        size (`int`):
            How many to draw; all of them when there are no more.
        seed (`int`, *optional*, defaults to 0):
            Chooses the examples and their order.

    Returns:
        `list[int]`: The numbers of the examples drawn, shuffled.

    Raises:
        `ValueError`: If `size` is negative.
    """
    if size < 0:
        raise ValueError(f"`size` must not be negative, got {size}.")
    groups: dict[str, list[int]] = defaultdict(list)
    for row, kind in enumerate(kinds):
        groups[kind].append(row)
    drawn: list[int] = []
    left, open_groups = min(size, len(kinds)), sorted(groups, key=lambda name: (len(groups[name]), name))
    # From the smallest group on: what one cannot fill is shared out among the larger ones.
    while open_groups:
        name = open_groups[0]
        weights = sum(len(groups[other]) ** 0.5 for other in open_groups)
        share = round(left * len(groups[name]) ** 0.5 / weights)
        take = min(share, len(groups[name]), left)
        drawn += shuffled(groups[name], seed, name)[:take]
        left -= take
        open_groups.pop(0)
    return shuffled(drawn, seed, "order")
