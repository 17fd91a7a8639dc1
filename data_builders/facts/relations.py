"""Relations between entities, and chains of them: one definition gives single-hop and multi-hop questions alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from data_builders.facts.fact_base import Entity, FactBase, with_article
from data_builders.facts.passages import birth_text, death_text, is_music
from data_builders.facts.text import date_text, year_of


@dataclass(frozen=True)
class Relation:
    """
    A relation of one kind of entity.

    Args:
        name (`str`):
            Its name, used in `template` and `evidences`.
        value (`Callable`):
            Gives the answer for an entity, empty if unknown.
        sub_question (`str` or `Callable`):
            The sub question, with `{s}` for the name of the entity. Worded as in 2WikiMultihopQA-style data.
        questions (`tuple[str, ...]`):
            Wordings of the question as a whole, with `{s}` for the subject.
        nouns (`tuple[str, ...]`):
            Wordings of the value as the subject of a further question.
    """

    name: str
    value: Callable[[Entity, FactBase], str]
    sub_question: str | Callable[[Entity], str]
    questions: tuple[str, ...]
    nouns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One hop: the sub question, its answer, the passage that holds it and the relation."""

    sub_question: str
    answer: str
    title: str
    relation: str


@dataclass(frozen=True)
class Chain:
    """A way from a starting entity to an answer, with all its wordings."""

    template: str
    start: str
    steps: tuple[Step, ...]
    wordings: tuple[str, ...]


def _whole_date(name: str, text: Callable[[Entity], str]) -> Callable[[Entity, FactBase], str]:
    return lambda entity, facts: text(entity) if len(entity[name]) > 4 else ""


def _column(name: str) -> Callable[[Entity, FactBase], str]:
    return lambda entity, facts: entity[name]


_FILM = {
    "director": Relation(
        "director",
        _column("director"),
        "Who directed the film {s}?",
        ("Who directed the film {s}?", "Who is the director of {s}?", "{s} was directed by whom?"),
        ("the director of {s}", "the director of the film {s}", "the person who directed the movie {s}"),
    ),
    "film_year": Relation(
        "film_year",
        _column("year"),
        "In what year did the film {s} come out?",
        ("In what year did the film {s} come out?", "What year was {s} released?", "When did the movie {s} come out?"),
    ),
    "film_country": Relation(
        "film_country",
        _column("country"),
        "Which country is the film {s} from?",
        ("Which country is the film {s} from?", "From which country does the film {s} come?"),
        ("the country the film {s} is from", "the country of origin of the film {s}"),
    ),
}
_PERSON = {
    "birth_date": Relation(
        "birth_date",
        _whole_date("birth", birth_text),
        "When was {s} born?",
        ("When was {s} born?", "On what date was {s} born?", "What is the date of birth of {s}?"),
    ),
    "birth_year": Relation(
        "birth_year",
        lambda entity, facts: year_of(entity["birth"]),
        "In what year was {s} born?",
        ("In what year was {s} born?", "What is the year of birth of {s}?"),
    ),
    "birth_place": Relation(
        "birth_place",
        _column("birth_place"),
        "Where was {s} born?",
        ("Where was {s} born?", "In which place was {s} born?", "What is the place of birth of {s}?"),
        ("the birthplace of {s}", "the city where {s} was born"),
    ),
    "death_date": Relation(
        "death_date",
        _whole_date("death", death_text),
        "When did {s} die?",
        ("When did {s} die?", "On what date did {s} die?", "What is the date of death of {s}?"),
    ),
    "nationality": Relation(
        "nationality",
        _column("nationality"),
        "What nationality is {s}?",
        ("What nationality is {s}?", "What is the nationality of {s}?"),
    ),
    "occupation": Relation(
        "occupation",
        _column("occupation"),
        "What is the occupation of {s}?",
        ("What is the occupation of {s}?", "What is {s} by profession?"),
    ),
}
_CITY = {
    "country": Relation(
        "country",
        _column("country"),
        "In which country is {s} located?",
        ("In which country is {s} located?", "{s} is located in which country?", "What country is {s} in?"),
        ("the country in which {s} lies", "the country that {s} belongs to"),
    ),
}
_COUNTRY = {
    "capital": Relation(
        "capital",
        _column("capital"),
        "What is the capital of {s}?",
        ("What is the capital of {s}?", "Which city is the capital of {s}?"),
    ),
    "currency": Relation(
        "currency",
        _column("currency"),
        "What is the currency of {s}?",
        ("What is the currency of {s}?", "Which currency is used in {s}?"),
    ),
    "language": Relation(
        "language",
        _column("language"),
        "What is the official language of {s}?",
        ("What is the official language of {s}?", "Which language is official in {s}?"),
    ),
    "continent": Relation(
        "continent",
        _column("continent"),
        "On which continent is {s}?",
        ("On which continent is {s}?", "On which continent does {s} lie?"),
    ),
}
_WORK = {
    "creator": Relation(
        "creator",
        _column("creator"),
        lambda work: f"Who {'composed' if is_music(work) else 'wrote'} the {work['kind']} {{s}}?",
        ("Who is the author of {s}?", "{s} is a work by whom?"),
        ("the author of {s}", "the person who created {s}"),
    ),
    "work_year": Relation(
        "work_year",
        _column("year"),
        lambda work: (
            f"In what year was the {work['kind']} {{s}} {'first performed' if is_music(work) else 'published'}?"
        ),
        ("In what year did {s} appear?", "From which year is {s}?"),
    ),
}
RELATIONS: dict[str, dict[str, Relation]] = {
    "film": _FILM,
    "person": _PERSON,
    "city": _CITY,
    "country": _COUNTRY,
    "work": _WORK,
}

_PERSON_FACTS = ("birth_date", "birth_year", "birth_place", "death_date", "nationality")
_COUNTRY_FACTS = ("capital", "currency", "language", "continent")


def _after(*path: str, ends: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [(*path, last) for last in ends]


PATHS: dict[str, list[tuple[str, ...]]] = {
    "film": [
        *_after(ends=("director", "film_year", "film_country")),
        *_after("director", ends=_PERSON_FACTS),
        *_after("director", "birth_place", ends=("country",)),
        *_after("film_country", ends=("capital", "currency")),
    ],
    "person": [
        *_after(ends=(*_PERSON_FACTS, "occupation")),
        *_after("birth_place", ends=("country",)),
        *_after("birth_place", "country", ends=_COUNTRY_FACTS),
    ],
    "work": [
        *_after(ends=("creator", "work_year")),
        *_after("creator", ends=(*_PERSON_FACTS, "occupation")),
        *_after("creator", "birth_place", ends=("country",)),
    ],
    "city": [*_after(ends=("country",)), *_after("country", ends=_COUNTRY_FACTS)],
    "country": _after(ends=_COUNTRY_FACTS),
}


def sub_question(relation: Relation, entity: Entity) -> str:
    """Word the sub question of a relation for one entity."""
    pattern = relation.sub_question if isinstance(relation.sub_question, str) else relation.sub_question(entity)
    name = with_article(entity.title) if entity.kind == "country" else entity.title
    return pattern.replace("{s}", name)


def usable(steps: Sequence[Step], facts: FactBase, passes: Callable[[str], bool]) -> bool:
    """Tell whether all passages of the steps, and all answers that have a passage, may be used."""
    titles = {title for step in steps for title in (step.title, step.answer) if title in facts}
    return all(passes(title) for title in titles)


def make_step(entity: Entity, relation_name: str, facts: FactBase) -> Step | None:
    """Make one hop from an entity, or `None` if the fact is unknown."""
    relation = RELATIONS[entity.kind][relation_name]
    answer = relation.value(entity, facts)
    return Step(sub_question(relation, entity), answer, entity.title, relation.name) if answer else None


def chains(facts: FactBase) -> Iterator[Chain]:
    """
    List every chain from every entity.

    Args:
        facts (`FactBase`):
            The tables.

    Returns:
        `Iterator[Chain]`: The chains whose facts are all known.
    """
    for entity in facts.entities.values():
        for path in PATHS[entity.kind]:
            chain = _follow(entity, path, facts)
            if chain:
                yield chain


def _follow(start: Entity, path: tuple[str, ...], facts: FactBase) -> Chain | None:
    steps: list[Step] = []
    subjects = [with_article(start.title) if start.kind == "country" else start.title]
    wordings: tuple[str, ...] = ()
    entity = start
    for number, name in enumerate(path):
        step = make_step(entity, name, facts)
        if step is None or any(step.answer in (earlier.title, earlier.answer) for earlier in steps):
            return None
        steps.append(step)
        relation = RELATIONS[entity.kind][name]
        if number + 1 == len(path):
            patterns = (step.sub_question.replace(subjects[0], "{s}"), *relation.questions) if number == 0 else ()
            patterns = tuple(dict.fromkeys(patterns or relation.questions))
            wordings = tuple(pattern.replace("{s}", subject) for pattern in patterns for subject in subjects)
        elif step.answer not in facts:
            return None
        else:
            subjects = [noun.replace("{s}", subject) for noun in relation.nouns for subject in subjects]
            entity = facts[step.answer]
    return Chain(">".join(path), start.title, tuple(steps), tuple(word[0].upper() + word[1:] for word in wordings))


def answer_aliases(relation: str, answer: str, facts: FactBase) -> list[str]:
    """List the forms in which an answer counts as right, itself first."""
    forms = [answer]
    if relation in ("birth_date", "death_date"):
        people = (entity[relation.split("_")[0]] for entity in facts.of_kind("person"))
        iso = next((i for i in people if len(i) > 4 and answer in (date_text(i), date_text(i, month_first=True))), "")
        forms += [date_text(iso), date_text(iso, month_first=True)] if iso else []
    elif relation in ("country", "film_country"):
        forms += [with_article(answer), facts.adjective(answer)]
    elif relation == "nationality":
        forms.append(facts.country_of_nationality(answer))
    elif relation == "birth_place":
        forms.append(answer.split(",")[0] if answer not in facts else answer)
    elif relation == "currency":
        forms += [f"the {answer}", answer.split()[-1]]
    return list(dict.fromkeys(form for form in forms if form))
