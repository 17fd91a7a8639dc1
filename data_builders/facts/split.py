"""Which entities are kept out of training."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from data_builders.facts.fact_base import FACTS_DIR, FactBase
from data_builders.seeding import seeded_number

HELD_OUT_FRACTION = 0.25

# A country that is the home of this many people's birthplaces is a hub of the longer chains. Holding it out would
# take those chains away from training without making anything new of them for the test.
HUB_SIZE = 3


def load_demo_questions() -> list[dict[str, Any]]:
    """Load the demo questions: `question`, `answer`, `type`, `starts` and gold `titles`."""
    questions: list[dict[str, Any]] = json.loads((FACTS_DIR / "demo_questions.json").read_text(encoding="utf-8"))
    return questions


def held_out_titles(facts: FactBase, seed: int = 0, fraction: float = HELD_OUT_FRACTION) -> set[str]:
    """
    Choose the entities that no training question touches, neither in its hops and answers nor as a distractor.

    The text of a passage used in training may still name one (a film made in a held-out country).

    Entities go in groups: a person with all films and works, a country with all cities. A quarter of the groups of
    directors, of other people and of countries (hubs excepted) is held out, those that start a demo question first.

    Args:
        facts (`FactBase`):
            The tables.
        seed (`int`, *optional*, defaults to 0):
            Chooses the groups.
        fraction (`float`, *optional*, defaults to 0.25):
            The part of the groups.

    Returns:
        `set[str]`: The titles.

    Raises:
        `ValueError`: If a demo question starts at a hub country or one of its cities.
    """
    groups: dict[str, dict[str, set[str]]] = {"director": {}, "person": {}, "country": {}}
    for person in facts.of_kind("person"):
        kind = "director" if person.title in facts.films_of else "person"
        made = [*facts.films_of.get(person.title, ()), *facts.works_of.get(person.title, ())]
        groups[kind][person.title] = {person.title, *(entity.title for entity in made)}
    homes = Counter(facts[p["birth_place"]]["country"] for p in facts.of_kind("person") if p["birth_place"] in facts)
    for country in facts.of_kind("country"):
        if homes[country.title] < HUB_SIZE:
            cities = {city.title for city in facts.of_kind("city") if city["country"] == country.title}
            groups["country"][country.title] = {country.title} | cities
    demo = {title for question in load_demo_questions() for title in question["starts"]}
    chosen: set[str] = set()
    for members in groups.values():
        pinned = [name for name in members if members[name] & demo]
        others = [name for name in members if name not in pinned]
        order = pinned + sorted(others, key=lambda name: seeded_number(seed, "held out", name))
        wanted = max(math.ceil(len(order) * fraction), len(pinned))
        chosen.update(*(members[name] for name in order[:wanted]))
    if not demo <= chosen:
        raise ValueError(f"demo questions start at {sorted(demo - chosen)}, which can't be held out; choose others.")
    return chosen
