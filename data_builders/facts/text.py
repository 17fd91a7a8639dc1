"""How the fact corpus writes dates, articles and lists of names."""

from __future__ import annotations

import datetime
from collections.abc import Sequence


def date_text(iso: str, month_first: bool = False) -> str:
    """Write an ISO date as `20 April 1927` or `April 20, 1927`; a bare year stays as it is."""
    if len(iso) <= 4:
        return iso
    day = datetime.date.fromisoformat(iso)
    month = day.strftime("%B")
    return f"{month} {day.day}, {day.year}" if month_first else f"{day.day} {month} {day.year}"


def year_of(iso: str) -> str:
    """Give the year of an ISO date."""
    return iso[:4]


def article(noun: str) -> str:
    """Put `a` or `an` before a noun, by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def join_names(names: Sequence[str]) -> str:
    """Join names as in `A, B and C`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
