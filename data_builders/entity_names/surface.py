"""How a text calls an entity: by its name, an alias, a part of it, its initials, in lower case."""

from __future__ import annotations

import re

from data_builders.seeding import pick, seeded_number

_APPENDED = re.compile(r"\s*(?:\([^()]*\)|,\s.*)$")


def surface(names: list[str], kind: str, *seed: object) -> str:
    """
    Choose what an entity is called.

    About half of the mentions are the name itself without what tells it apart (`"Springfield (Ohio)"`); the others are
    an alias, for a person the last or the first word, for names of three capitalised words and more the initials. One
    in eight is in lower case, as in short messages.

    Args:
        names (`list[str]`): Name and aliases of the entity.
        kind (`str`): One of `KINDS`.
        seed: The parts that decide.

    Returns:
        `str`: Not empty.
    """
    name = _APPENDED.sub("", names[0]) or names[0]
    words = name.split()
    ways = [name, name, pick(names, *seed, "alias")]
    if kind == "person" and len(words) > 1:
        ways += [words[-1], words[-1], words[0]]
    elif len(words) > 2 and len(initials := "".join(word[0] for word in words if word[0].isupper())) > 2:
        ways.append(initials)
    elif kind == "work" and len(words) > 3:
        ways.append(" ".join(words[:2]))
    chosen = pick(ways, *seed, "way")
    return chosen.lower() if seeded_number(*seed, "case") % 8 == 0 else chosen
