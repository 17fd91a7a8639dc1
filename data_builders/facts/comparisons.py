"""Questions that compare two entities, directly or through their directors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from data_builders.facts.fact_base import Entity, FactBase, with_article
from data_builders.facts.relations import Step, make_step, usable
from data_builders.seeding import shuffled


@dataclass(frozen=True)
class Comparison:
    """
    One kind of comparison.

    Args:
        template (`str`):
            Its name.
        kind (`str`):
            What is compared: `"film"`, `"person"`, `"city"` or `"country"`.
        path (`tuple[str, ...]`):
            The relations from each entity to the compared value; with two of them it is a bridge comparison.
        wordings (`tuple[str, ...]`):
            The question, with `{a}` and `{b}`.
        later (`bool`, *optional*):
            Whether the entity with the larger value is asked for; `None` for "is it the same?".
    """

    template: str
    kind: str
    path: tuple[str, ...]
    wordings: tuple[str, ...]
    later: bool | None = None


@dataclass(frozen=True)
class Compared:
    """A comparison of two entities, with its steps in hop order and its answer."""

    template: str
    starts: tuple[str, str]
    steps: tuple[Step, ...]
    wordings: tuple[str, ...]
    answer: str


COMPARISONS = [
    Comparison(
        "cmp:birth0",
        "person",
        ("birth_date",),
        ("Who was born later, {a} or {b}?", "Who is younger, {a} or {b}?", "Between {a} and {b}, who was born later?"),
        later=True,
    ),
    Comparison(
        "cmp:birth1",
        "person",
        ("birth_date",),
        ("Who was born earlier, {a} or {b}?", "Who is older, {a} or {b}?", "Who was born first, {a} or {b}?"),
        later=False,
    ),
    Comparison(
        "cmp:film0",
        "film",
        ("film_year",),
        ("Which film came out later, {a} or {b}?", "Which movie is newer, {a} or {b}?"),
        later=True,
    ),
    Comparison(
        "cmp:film1",
        "film",
        ("film_year",),
        ("Which film came out first, {a} or {b}?", "Which movie is older, {a} or {b}?"),
        later=False,
    ),
    Comparison(
        "cmp:fcountry",
        "film",
        ("film_country",),
        ("Are the films {a} and {b} from the same country?", "Were the movies {a} and {b} made in the same country?"),
    ),
    Comparison(
        "cmp:nat",
        "person",
        ("nationality",),
        ("Do {a} and {b} have the same nationality?", "Are {a} and {b} of the same nationality?"),
    ),
    Comparison(
        "cmp:pcountry",
        "city",
        ("country",),
        ("Are {a} and {b} both located in the same country?", "Are both {a} and {b} in the same country?"),
    ),
    Comparison(
        "cmp:continent",
        "country",
        ("continent",),
        ("Are {a} and {b} on the same continent?", "Do {a} and {b} lie on the same continent?"),
    ),
    Comparison(
        "cmp:currency",
        "country",
        ("currency",),
        ("Do {a} and {b} use the same currency?", "Is the currency of {a} the same as that of {b}?"),
    ),
    Comparison(
        "bcmp:birth0",
        "film",
        ("director", "birth_date"),
        (
            "Which film's director was born later, {a} or {b}?",
            "Which film has the director who is younger, {a} or {b}?",
            "Between {a} and {b}, which film was directed by the younger person?",
        ),
        later=True,
    ),
    Comparison(
        "bcmp:birth1",
        "film",
        ("director", "birth_date"),
        (
            "Which film's director is older, {a} or {b}?",
            "Which film has the director who was born earlier, {a} or {b}?",
            "Between {a} and {b}, which film was directed by the person born earlier?",
        ),
        later=False,
    ),
    Comparison(
        "bcmp:nat",
        "film",
        ("director", "nationality"),
        (
            "Do the directors of {a} and {b} share the same nationality?",
            "Are the directors of the films {a} and {b} of the same nationality?",
        ),
    ),
]

_ISO_COLUMN = {"birth_date": "birth", "film_year": "year"}


def compare_all(
    comparison: Comparison,
    facts: FactBase,
    starts: Callable[[str], bool],
    passes: Callable[[str], bool],
    *,
    limit: int,
    seed: int,
) -> list[Compared]:
    """
    Compare pairs of entities, with as many `yes` as `no`.

    Args:
        comparison (`Comparison`):
            What to compare.
        facts (`FactBase`):
            The tables.
        starts (`Callable`):
            Tells whether an entity may be compared.
        passes (`Callable`):
            Tells whether a passage or an answer may be used further on.
        limit (`int`):
            The most pairs.
        seed (`int`):
            Chooses the pairs and the order within each.

    Returns:
        `list[Compared]`: The comparisons.
    """
    entities = [entity for entity in facts.of_kind(comparison.kind) if starts(entity.title)]
    groups: dict[str, list[Compared]] = {}
    pairs = shuffled(list(combinations(entities, 2)), seed, comparison.template)
    for pair in pairs:
        first, second = shuffled(pair, seed, comparison.template, pair[0].title, pair[1].title)
        compared = compare_pair(comparison, first, second, facts)
        if compared and usable(compared.steps, facts, passes):
            # Group by the answer's place, not its text, so that neither the first nor the second name is preferred.
            key = compared.answer if comparison.later is None else str(compared.answer == first.title)
            groups.setdefault(key, []).append(compared)
            if len(groups) == 2 and all(2 * len(group) >= limit for group in groups.values()):
                break
    size = min([limit // 2, *(len(group) for group in groups.values())]) if len(groups) == 2 else 0
    return [item for row in zip(*(group[:size] for _, group in sorted(groups.items())), strict=True) for item in row]


def compare_pair(comparison: Comparison, first: Entity, second: Entity, facts: FactBase) -> Compared | None:
    """
    Compare two entities.

    Args:
        comparison (`Comparison`):
            What to compare.
        first (`Entity`):
            The entity named first.
        second (`Entity`):
            The other one.
        facts (`FactBase`):
            The tables.

    Returns:
        `Compared | None`: The comparison; `None` if a fact is unknown, the values are equal though a larger one is
        asked for, or both films have the same director.
    """
    paths = [list(_walk(entity, comparison.path, facts)) for entity in (first, second)]
    if any(len(path) != len(comparison.path) for path in paths):
        return None
    last_titles = [path[-1].title for path in paths]
    if last_titles[0] == last_titles[1]:
        return None
    relation = comparison.path[-1]
    if comparison.later is None:
        answer = "yes" if paths[0][-1].answer == paths[1][-1].answer else "no"
    else:
        values = [facts[title][_ISO_COLUMN[relation]] for title in last_titles]
        if values[0] == values[1]:
            return None
        answer = (first if (values[0] > values[1]) == comparison.later else second).title
    # 2WikiMultihopQA's order: the bridge of both entities first, then both values.
    steps = tuple(step for level in zip(*paths, strict=True) for step in level)
    names = [with_article(entity.title) if entity.kind == "country" else entity.title for entity in (first, second)]
    wordings = tuple(word.replace("{a}", names[0]).replace("{b}", names[1]) for word in comparison.wordings)
    return Compared(comparison.template, (first.title, second.title), steps, wordings, answer)


def _walk(entity: Entity, path: Sequence[str], facts: FactBase) -> Iterator[Step]:
    for name in path:
        step = make_step(entity, name, facts)
        if step is None:
            return
        yield step
        if step.answer in facts:
            entity = facts[step.answer]
