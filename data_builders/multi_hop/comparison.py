"""The lines that spell a comparison out before the answer, e.g. `Compare: 1927 < 1960`."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import NamedTuple

from data_builders.multi_hop.fields import match_title, title_key, without_parenthesis

# How many hops a comparison of each type has when its last two hops hold the compared values. A comparison with other
# numbers of hops (who lived longer: two births, two deaths) compares something else than the last two answers.
COMPARED_HOPS = {"comparison": 2, "bridge_comparison": 4}

_MONTHS = {
    name: number
    for number, name in enumerate(
        "january february march april may june july august september october november december".split(), start=1
    )
}
_MONTH = "|".join(f"{name}|{name[:3]}" for name in _MONTHS)
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+({_MONTH})\.?,?\s+(\d{{3,4}})\b", re.IGNORECASE)
_MONTH_FIRST = re.compile(rf"\b({_MONTH})\.?\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{3,4}})\b", re.IGNORECASE)
_ISO = re.compile(r"^(\d{4})-(\d{2})-(\d{2})$")
_YEAR = re.compile(rf"^(?:c\.|ca\.|circa|around)?\s*(?:(?:{_MONTH})\.?,?\s+)?(\d{{3,4}})$", re.IGNORECASE)


class PartialDate(NamedTuple):
    """A year, with the day where it is known."""

    year: int
    day: datetime.date | None


def parse_date(text: str) -> PartialDate | None:
    """
    Find the date in a short answer.

    General date parsers fill missing parts from today's date and read numbers in names as dates, so only whole years
    and spelled-out dates count here, with day and month in either order.

    Args:
        text (`str`):
            An answer such as `"20 April 1927"`, `"April 20, 1927"`, `"1927-04-20"` or `"1927"`.

    Returns:
        `PartialDate | None`: The date, or `None` if the text holds none or one before our era.
    """
    text = text.strip()
    if re.search(r"\bB\.?C\.?(?:E\.?)?\b", text):
        return None
    if match := _ISO.match(text):
        year, month, day = (int(part) for part in match.groups())
    elif match := _DAY_FIRST.search(text):
        year, month, day = int(match[3]), _month_number(match[2]), int(match[1])
    elif match := _MONTH_FIRST.search(text):
        year, month, day = int(match[3]), _month_number(match[1]), int(match[2])
    elif match := _YEAR.match(text):
        return PartialDate(int(match[1]), None)
    else:
        return None
    try:
        return PartialDate(year, datetime.date(year, month, day))
    except ValueError:
        return None


def _month_number(name: str) -> int:
    return next(number for month, number in _MONTHS.items() if month.startswith(name.lower()))


class Comparison(NamedTuple):
    """
    Two values and how they relate.

    Args:
        left (`str`):
            The first hop's value: a year, a day (ISO), or any other answer.
        operator (`str`):
            `"<"`, `">"` and `"="` between dates, `"="` and `"!="` between other values.
        right (`str`):
            The second hop's.
    """

    left: str
    operator: str
    right: str

    @property
    def line(self) -> str:
        """As it stands in the text, without line break."""
        return f"Compare: {self.left} {self.operator} {self.right}"


def compare(question_type: str | None, sub_answers: Sequence[str | None], answer: str) -> Comparison | None:
    """
    Compare the last two sub answers.

    Dates are compared by year, or by day (ISO) when the years are equal and both days are known. Other values are
    compared for equality, ignoring case.

    Args:
        question_type (`str`, *optional*):
            The record's `type`; only `"comparison"` and `"bridge_comparison"` compare.
        sub_answers (`Sequence[str | None]`):
            The sub answers in hop order.
        answer (`str`):
            The gold answer. When it is yes or no and the comparison would say otherwise, there is none.

    Returns:
        `Comparison | None`: The comparison, if there is one.
    """
    if question_type is None or COMPARED_HOPS.get(question_type) != len(sub_answers):
        return None
    left, right = sub_answers[-2:]
    if not left or not right:
        return None
    left, right = left.strip(), right.strip()
    gold = answer.strip().casefold().rstrip(".")
    first, second = parse_date(left), parse_date(right)
    if first and second:
        found = Comparison(str(first.year), _order(first.year, second.year), str(second.year))
        if found.operator == "=" and first.day and second.day:
            found = Comparison(first.day.isoformat(), _order(first.day, second.day), second.day.isoformat())
        # Of dates in order nothing can be said: "Was A born before B?" may be answered either way.
        contradicts = found.operator == "=" and gold == "no"
    else:
        same = left.casefold() == right.casefold()
        found = Comparison(left, "=" if same else "!=", right)
        contradicts = gold == ("no" if same else "yes")
    return None if contradicts else found


def order_lines(comparison: Comparison | None, titles: Sequence[str], question: str, answer: str) -> list[str]:
    """
    Say which of two things is later and which is earlier, and once more the one that is asked for, e.g.
    `Later: Metropolis`, `Earlier: Nosferatu`, `Earlier: Nosferatu`.

    What the question asks for ("born first", "newer") and what the comparison says (`<` or `>`) decide the answer
    together; each alone tells nothing, and a small language model does not learn that from a thousand examples. Here
    each line follows from one of them, and the third begins like the one that it copies.

    Args:
        comparison (`Comparison`, *optional*):
            What [`compare`] found.
        titles (`Sequence[str]`):
            Of the hops' passages in hop order; the first two are of what is compared.
        question (`str`):
            A title's qualifier, such as `(1987 film)`, is left out unless it stands here.
        answer (`str`):
            The gold answer, one of the two; written in place of the title that it equals but for case and qualifier.

    Returns:
        `list[str]`: Three lines without line breaks; none where the comparison orders nothing, or the answer is
        neither title.
    """
    if comparison is None or comparison.operator not in ("<", ">"):
        return []
    names = [title if title.casefold() in question.casefold() else without_parenthesis(title) for title in titles[:2]]
    asked = match_title(answer.strip(), names)
    if asked is None or len(set(map(title_key, names))) < 2:
        return []
    later, earlier = names if comparison.operator == ">" else reversed(names)
    lines = {
        name: f"{label}: {answer.strip() if name == asked else name}"
        for label, name in (("Later", later), ("Earlier", earlier))
    }
    return [*lines.values(), lines[asked]]


def _order(left: int | datetime.date, right: int | datetime.date) -> str:
    if left == right:
        return "="
    return "<" if left < right else ">"  # type: ignore[operator]
