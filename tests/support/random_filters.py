"""Random values of `meta`, and random filters that ask for them."""

from __future__ import annotations

import random
from typing import Any

NAMES = ["lang", "n", "tags", "author", "a b", "ключ"]
VALUES = ["en", "de", "", "it's", 'say "no"', "back\\slash", 0, 1, 2, 2.5, -3, True, False, None]


def random_meta(numbers: random.Random) -> Any:
    def value(depth: int) -> Any:
        kind = numbers.random()
        if kind < 0.15 and depth < 2:
            return {numbers.choice(NAMES): value(depth + 1) for _ in range(2)}
        if kind < 0.35:
            return [numbers.choice(VALUES[:-1]) for _ in range(numbers.randrange(3))]
        if kind < 0.42 and depth < 2:
            return [{numbers.choice(NAMES): value(depth + 1)}]
        return numbers.choice(VALUES)

    return None if numbers.random() < 0.1 else {name: value(0) for name in numbers.sample(NAMES, 3)}


def random_filter(numbers: random.Random, ordered_texts: bool, depth: int = 0) -> dict[str, Any]:
    kind = numbers.random()
    if kind < 0.25 and depth < 2:
        operator = numbers.choice(["$and", "$or"])
        return {operator: [random_filter(numbers, ordered_texts, depth + 1) for _ in range(2)]}
    if kind < 0.4 and depth < 2:
        return {"$not": random_filter(numbers, ordered_texts, depth + 1)}
    path = ".".join(numbers.sample(NAMES, numbers.choice([1, 1, 2])))
    operator = numbers.choice(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"])
    if operator in ("$in", "$nin"):
        return {path: {operator: numbers.sample(VALUES, 3)}}
    values = VALUES
    if operator not in ("$eq", "$ne"):
        values = [value for value in VALUES if isinstance(value, (int, float)) and not isinstance(value, bool)]
        values += [value for value in VALUES if isinstance(value, str)] if ordered_texts else []
    return {path: {operator: numbers.choice(values)}}
