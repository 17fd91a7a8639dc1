"""What counts as a mention: the kinds of labels, and the instruction that asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from data_builders.entity_linking.labels import Label, unlinkable_reason
from data_builders.entity_linking.selection import is_coreference

INSTRUCTION = "Mark every mention of an entity in the following text and link it to the entity."

PROPER_NAMES = ("persons", "places", "organizations", "others")
KINDS = {
    "persons": "persons",
    "places": "places",
    "organizations": "organizations",
    "others": "other proper names",
    "demonyms": "demonyms",
    "nouns": "common nouns",
    "coreferences": "pronouns and other coreferences",
    "dates": "dates",
}
"""Kind → how the instruction calls it. The first four are the proper names; benchmarks differ in the rest."""

GROUPS = {"names": PROPER_NAMES, "all": tuple(KINDS)}
"""Words for several kinds."""
KIND_CHOICES = [*GROUPS, *KINDS]

# Types of ELEVANT (ids of Wikidata), the first that fits.
_TYPES = {"persons": {"Q215627"}, "places": {"Q27096213"}, "organizations": {"Q43229"}}
_ROLES = {"Q4164871", "Q12737077"}
_PEOPLES = {"Q33829", "Q17376908", "Q4392985"}
_DEMONYM = re.compile(
    r"(?:\w+(?:[^aeiou]ish|ian|ean|ese|[aeiou]lis?|ican|stani|q[iu]|greek)|french|german|dutch|greek|swiss|thai|welsh"
    r"|czech|turk|scots?|brit(?:on)?|filipin[oa]|afghan)s?",
    re.IGNORECASE,
)


def check_kinds(kinds: str | Iterable[str]) -> tuple[str, ...]:
    """
    Bring a choice of kinds into order.

    Args:
        kinds (`str` or `Iterable[str]`): Keys of [`KINDS`], as a list or separated by commas; `"names"` stands for
            the four kinds of proper names and `"all"` for all kinds.

    Returns:
        `tuple[str, ...]`: Each kind once, in the order of [`KINDS`].

    Raises:
        `ValueError`: If there is none, or one is unknown.
    """
    names = [name.strip() for name in kinds.split(",")] if isinstance(kinds, str) else list(kinds)
    chosen = {kind for name in names for kind in GROUPS.get(name, (name,))}
    if not chosen or not chosen <= set(KINDS):
        raise ValueError(
            f"kinds={kinds!r} must be one or more of {', '.join(KINDS)}, or 'names' for proper names, or 'all'"
        )
    return tuple(kind for kind in KINDS if kind in chosen)


def instruction_for(kinds: str | Iterable[str]) -> str:
    """
    The instruction that asks for mentions of some kinds only.

    Example:

    ```python
    >>> instruction_for("names")
    'Mark every mention of an entity in the following text and link it to the entity. Kinds: proper names.'
    ```
    """
    chosen = check_kinds(kinds)
    words = [KINDS[kind] for kind in chosen]
    if set(PROPER_NAMES) <= set(chosen):
        words = ["proper names", *(KINDS[kind] for kind in chosen if kind not in PROPER_NAMES)]
    return f"{INSTRUCTION} Kinds: {', '.join(words)}."


def kinds_of(label: Label, text: str) -> frozenset[str]:
    """
    The kinds that a label may be of. A label of an unknown entity may be any proper name; quantities are of no kind.

    Args:
        label (`Label`)
        text (`str`): The text that it belongs to.
    """
    mention = text[label.start : label.end].strip()
    reason = unlinkable_reason(label)
    if is_coreference(label, text):
        return frozenset({"coreferences"})
    if reason in ("datetime", "quantity"):
        return frozenset({"dates"} if reason == "datetime" else ())
    types = set(label.type.split("|"))
    named = {kind for kind, ids in _TYPES.items() if ids & types}
    if types & _PEOPLES or (named and _is_demonym(mention, label.name)):
        return frozenset({"demonyms"})
    # Messages write names in small letters too, but those of roles are no names.
    if (types & _ROLES and not named) or (mention.islower() and (types & _ROLES or not named)):
        return frozenset({"nouns"})
    if reason is not None:
        return frozenset(PROPER_NAMES)
    return frozenset(named or {"others"})


def _is_demonym(mention: str, name: str) -> bool:
    """Whether a word such as "Turkish" stands for a place that it is not the name of."""
    return _DEMONYM.fullmatch(mention) is not None and mention.casefold() not in name.casefold()
