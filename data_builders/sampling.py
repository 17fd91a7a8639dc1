"""Drawing a part of the examples in which rare kinds are not drowned by common ones."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from data_builders.seeding import shuffled


def balanced_sample(rows: Sequence[dict[str, Any]], size: int, seed: int = 0) -> list[dict[str, Any]]:
    """
    Draw examples so that each template's share goes with the square root of its number.

    Args:
        rows (`Sequence[dict[str, Any]]`):
            Records of the `examples` config; `meta` names the `template`, or else the `type`.
        size (`int`):
            How many to draw; all of them when there are no more.
        seed (`int`, *optional*, defaults to 0):
            Chooses the examples and their order.

    Returns:
        `list[dict[str, Any]]`: The examples, shuffled.

    Raises:
        `ValueError`: If `size` is negative.
    """
    if size < 0:
        raise ValueError(f"`size` must not be negative, got {size}.")
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        meta = json.loads(row["meta"])
        groups[str(meta.get("template") or meta.get("type"))].append(row)
    drawn: list[dict[str, Any]] = []
    left, open_groups = min(size, len(rows)), sorted(groups, key=lambda name: (len(groups[name]), name))
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
