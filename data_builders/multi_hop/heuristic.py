"""Hops for a question that nobody has decomposed: a stated rule, in place of knowledge."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from data_builders.multi_hop.fields import without_parenthesis
from data_builders.rendering import Hop


def heuristic_hops(question: str, titles: Sequence[str], text_of: Callable[[str], str]) -> list[Hop]:
    """
    Make one hop per supporting passage.

    1. Passages whose title the question names come first, in the order of the question; then those whose title a
       passage before them names; then the others, in the order given.
    2. The sub-question is the whole question. When the title is known by then, from the question or from a passage,
       and there are several hops, it stands in front: `Ada Moll: When was the director of The Tin Boat born?`
    3. A hop is answered by the title of the next one if its own passage names that and the question does not: that is
       the bridge. Other hops have no answer.

    This teaches to retrieve the right passages in an order that can be followed, but no reasoning in between: prefer
    records with a decomposition.

    Args:
        question (`str`):
            The question.
        titles (`Sequence[str]`):
            The titles of the supporting passages.
        text_of (`Callable[[str], str]`):
            The text of a passage by its title.

    Returns:
        `list[Hop]`: The hops.
    """
    names = {title: without_parenthesis(title) for title in titles}
    known, left, ordered = question.casefold(), list(titles), []
    while left:
        places = {title: known.find(names[title].casefold()) for title in left}
        title = min(left, key=lambda title: (places[title] < 0, places[title]))
        ordered.append((title, places[title] >= 0))
        left.remove(title)
        known += "\n" + text_of(title).casefold()
    hops = []
    for place, (title, is_known) in enumerate(ordered):
        following = ordered[place + 1][0] if place + 1 < len(ordered) else None
        bridge = following is not None and names[following].casefold() not in question.casefold()
        answer = names[following] if following and bridge and names[following] in text_of(title) else None
        asked = f"{names[title]}: {question}" if is_known and len(ordered) > 1 else question
        hops.append(Hop(asked, answer, title))
    return hops
