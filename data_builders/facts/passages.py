"""Templates of the passages: two to four sentences on an entity, in one of several phrasings."""

from __future__ import annotations

from data_builders.facts.fact_base import Entity, FactBase, with_article
from data_builders.facts.text import article, date_text, join_names
from data_builders.seeding import pick


def passage(entity: Entity, facts: FactBase, seed: int = 0) -> list[str]:
    """
    Write the passage of an entity.

    Args:
        entity (`Entity`):
            The entity.
        facts (`FactBase`):
            The tables it comes from.
        seed (`int`, *optional*, defaults to 0):
            Together with the title it chooses the phrasing.

    Returns:
        `list[str]`: Two to four sentences that hold all facts asked about.
    """
    writer = {"film": _film, "person": _person, "country": _country, "city": _city, "work": _work}[entity.kind]
    return writer(entity, facts, seed)


def month_first(person: Entity) -> bool:
    """Tell whether the dates of a person are written the American way."""
    return person["nationality"] == "American"


def birth_text(person: Entity) -> str:
    """Write the birth date as the passage does."""
    return date_text(person["birth"], month_first(person))


def death_text(person: Entity) -> str:
    """Write the death date as the passage does."""
    return date_text(person["death"], month_first(person))


def _film(film: Entity, facts: FactBase, seed: int) -> list[str]:
    title, year, director = film.title, film["year"], film["director"]
    country, about = with_article(film["country"]), film["about"]
    kind = f"{facts.adjective(film['country'])} {film['genre']} film"
    variants = [
        [f"{title} is a {year} {kind} directed by {director}.", f"It tells of {about}.", f"It was made in {country}."],
        [
            f"{title} is {article(kind)} directed by {director} and released in {year}.",
            f"It is a film from {country} about {about}.",
        ],
        [
            f"{title} is {article(kind)} about {about}.",
            f"It came out in {year} and was directed by {director}.",
            f"Its country of origin is {country}.",
        ],
        [
            f"Directed by {director}, {title} is a {year} {kind}.",
            f"The film, produced in {country}, tells of {about}.",
        ],
    ]
    return pick(variants, seed, "film", title)


def _person(person: Entity, facts: FactBase, seed: int) -> list[str]:
    name, place, born, died = person.title, person["birth_place"], birth_text(person), death_text(person)
    role = f"{person['nationality']} {person['occupation']}".strip()
    verb = "was" if died else "is"
    pronoun = person["pronoun"].capitalize()
    if name in facts.films_of:
        films = [f"{film.title} ({film['year']})" for film in facts.films_of[name]]
        known = f"the film{'s' if len(films) > 1 else ''} {join_names(films)}"
    else:
        known = person["known_for"]
    life = f"({born} – {died})" if died else f"(born {born})"
    on = "in" if len(person["birth"]) <= 4 else "on"
    end = f"{pronoun} died {'in' if len(person['death']) <= 4 else 'on'} {died}."
    variants = [
        [
            f"{name} {life} {verb} {article(role)}.",
            f"{pronoun} was born in {place}.",
            f"{pronoun} {verb} known for {known}.",
        ],
        [f"{name} {life} {verb} {article(role)} known for {known}.", f"{name} was born in {place}."],
        [
            f"{name} {verb} {article(role)}, best known for {known}.",
            f"{pronoun} was born {on} {born} in {place}.",
            *([end] if died else []),
        ],
        [f"Born in {place} {on} {born}, {name} {verb} {article(role)}.", *([end] if died else [])]
        + [f"{pronoun} {verb} known for {known}."],
    ]
    return pick(variants, seed, "person", name)


def _country(country: Entity, facts: FactBase, seed: int) -> list[str]:
    name = with_article(country.title)
    upper = name[0].upper() + name[1:]
    where = f" in {country['continent']}" if country["continent"] else ""
    capital, currency, language = country["capital"], country["currency"], country["language"]
    plural = "languages are" if " and " in language else "language is"
    spoken = [f"The official {plural} {language}."] if language else []
    variants = [
        [f"{upper} is a country{where}.", f"Its capital is {capital}.", *spoken, f"The currency is the {currency}."],
        [f"{upper} is a country{where} with {capital} as its capital.", f"Its currency is the {currency}.", *spoken],
        [f"{upper} is a country{where}.", *spoken, f"The capital is {capital} and the currency is the {currency}."],
    ]
    return pick(variants, seed, "country", country.title)


def _city(city: Entity, facts: FactBase, seed: int) -> list[str]:
    name, country, setting = city.title, with_article(city["country"]), city["setting"]
    if facts[city["country"]]["capital"] == name:
        variants = [
            [f"{name} is the capital of {country}.", f"It lies {setting}."],
            [f"{name} is the capital city of {country}.", f"The city is located {setting}."],
            [f"{name}, which lies {setting}, is a city in {country}.", "It is the capital of the country."],
        ]
    else:
        variants = [
            [f"{name} is a city in {country}.", f"It lies {setting}."],
            [f"{name} is a city located {setting}.", f"It belongs to {country}."],
        ]
    return pick(variants, seed, "city", name)


def _work(work: Entity, facts: FactBase, seed: int) -> list[str]:
    title, kind, creator, year = work.title, work["kind"], work["creator"], work["year"]
    by = f"{facts[creator]['nationality']} {facts[creator]['occupation']} {creator}".strip()
    if is_music(work):
        variants = [
            [
                f"{title} is {article(kind)} by the {by}.",
                f"It was first performed in {year}.",
                f"It is about {work['about']}.",
            ],
            [
                f"{title} is {article(kind)} composed by {creator}, first performed in {year}.",
                f"It tells of {work['about']}.",
            ],
        ]
    else:
        variants = [
            [
                f"{title} is {article(kind)} by the {by}.",
                f"It was published in {year}.",
                f"It is about {work['about']}.",
            ],
            [
                f"{title} is {article(kind)} written by {creator}, published in {year}.",
                f"It tells of {work['about']}.",
            ],
            [f"Published in {year}, {title} is {article(kind)} by {creator}.", f"Its subject is {work['about']}."],
        ]
    return pick(variants, seed, "work", title)


def is_music(work: Entity) -> bool:
    """Tell whether a work was composed rather than written."""
    return work["kind"] in ("opera", "ballet")
