"""2WikiMultihopQA's evidences, facts (subject, relation, object), as hops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from data_builders.errors import RecordError
from data_builders.multi_hop.fields import match_title, title_key
from data_builders.multi_hop.relations import ask
from data_builders.rendering import Hop

_NAMES = (
    ("subject", "fact", "head", "entity_1"),
    ("relation", "predicate", "property"),
    ("object", "entity", "tail", "value", "entity_2"),
)


class Fact(NamedTuple):
    """One piece of evidence."""

    subject: str
    relation: str
    object: str


def read_facts(value: Any) -> list[Fact]:
    """
    Read `evidences`: a list of triples or of objects, or a mapping of three columns.

    Args:
        value (`Any`):
            The field, decoded.

    Returns:
        `list[Fact]`: The facts, each once.

    Raises:
        `RecordError`: If it has another form.
    """
    if isinstance(value, Mapping):
        columns = _in_order(value)
        if columns is None or not all(isinstance(column, list) for column in columns):
            raise _malformed()
        value = list(zip(*columns, strict=False)) if len({len(column) for column in columns}) == 1 else None
    if not isinstance(value, list):
        raise _malformed()
    facts = []
    for item in value:
        parts = _in_order(item) if isinstance(item, Mapping) else item
        if not isinstance(parts, (list, tuple)) or len(parts) != 3 or not all(isinstance(p, str) for p in parts):
            raise _malformed()
        facts.append(Fact(*(part.strip() for part in parts)))
    return list(dict.fromkeys(facts))


def hops_from_facts(facts: Sequence[Fact], titles: Sequence[str], text_of: Callable[[str], str]) -> list[Hop]:
    """
    Turn facts into hops, in an order in which every subject is known: from the question, or from an earlier hop.

    The facts about things that the question names come first, then those about what was found, and so on, each
    level in the order of the record. So a comparison over two bridges asks for both bridges before it asks for the
    values that are compared.

    Args:
        facts (`Sequence[Fact]`):
            The facts.
        titles (`Sequence[str]`):
            The titles of the supporting passages.
        text_of (`Callable[[str], str]`):
            The text of a supporting passage by its title.

    Returns:
        `list[Hop]`: A hop per fact; the title is that of the supporting passage on its subject.

    Raises:
        `RecordError`: If there is no fact, or none of the passages can be told to be about a subject.
    """
    if not facts:
        raise RecordError("no_evidence", "`evidences` is empty.")
    levels = _levels(facts)
    ordered = sorted(facts, key=lambda fact: levels[title_key(fact.subject)])
    subjects = list(dict.fromkeys(fact.subject for fact in ordered))
    passages = {subject: match_title(subject, titles) for subject in subjects}
    for fact in ordered:
        # The passage may be titled otherwise than the fact names its subject, but it says both.
        if passages[fact.subject] is None:
            free = [title for title in titles if title not in passages.values()]
            saying = [title for title in free if _says(text_of(title), fact)]
            candidates = saying or free
            passages[fact.subject] = candidates[0] if len(candidates) == 1 else None
    hops = []
    for fact in ordered:
        title = passages[fact.subject]
        if title is None:
            raise RecordError("unmatched_subject", f"no supporting passage is about {fact.subject!r}.")
        hops.append(Hop(ask(fact.subject, fact.relation), fact.object or None, title))
    return hops


def _levels(facts: Sequence[Fact]) -> dict[str, int]:
    """How many facts lead to each subject; in a circle, the subject named first is where it begins."""
    levels: dict[str, int] = {}
    left = list(dict.fromkeys(title_key(fact.subject) for fact in facts))
    level = 0
    while left:
        found_later = {
            title_key(fact.object) for fact in facts if title_key(fact.subject) in left and fact.object != fact.subject
        }
        now = [subject for subject in left if subject not in found_later] or left[:1]
        levels.update(dict.fromkeys(now, level))
        left = [subject for subject in left if subject not in levels]
        level += 1
    return levels


def _says(text: str, fact: Fact) -> bool:
    text = title_key(text)
    return title_key(fact.subject) in text or title_key(fact.object) in text


def _in_order(mapping: Mapping[str, Any]) -> list[Any] | None:
    chosen = [next((mapping[name] for name in names if name in mapping), None) for names in _NAMES]
    if None not in chosen:
        return chosen
    return list(mapping.values()) if len(mapping) == 3 else None


def _malformed() -> RecordError:
    return RecordError("malformed_field", "`evidences` must hold triples [subject, relation, object] of texts.")
