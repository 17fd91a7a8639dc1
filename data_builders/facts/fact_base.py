"""Load the fact tables and check that they fit together."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FACTS_DIR = Path(__file__).parent / "tables"

# Countries that made films and no longer exist, so they have an adjective but no passage.
FORMER_COUNTRIES = {"Soviet Union": "Soviet", "West Germany": "West German"}
_THE = {"Czech Republic", "Philippines", "Soviet Union", "United Kingdom", "United States"}


@dataclass(frozen=True)
class Entity:
    """
    One thing with a passage.

    Args:
        title (`str`):
            Its name, unique among all entities.
        kind (`str`):
            `"film"`, `"person"`, `"country"`, `"city"` or `"work"`.
        facts (`dict[str, str]`):
            The columns of its table; an empty value means that the fact is unknown or disputed.
    """

    title: str
    kind: str
    facts: dict[str, str] = field(hash=False)

    def __getitem__(self, name: str) -> str:
        return self.facts.get(name, "")


class FactBase:
    """
    All entities by title.

    Args:
        folder (`Path`, *optional*):
            Where the tables are; by default those of this package.

    Raises:
        `ValueError`: If a title is used twice or a link (director, creator, country, capital) leads nowhere.
    """

    def __init__(self, folder: Path = FACTS_DIR) -> None:
        self.entities: dict[str, Entity] = {}
        tables = (
            ("countries.csv", "country", "country"),
            ("cities.csv", "city", "city"),
            ("directors.csv", "name", "person"),
            ("people.csv", "name", "person"),
            ("films.csv", "title", "film"),
            ("works.csv", "title", "work"),
        )
        for name, key, kind in tables:
            for row in _rows(folder / name):
                title = row[key]
                if title in self.entities:
                    raise ValueError(
                        f"{name}: the title {title!r} is used twice; make it unique, e.g. '{title} (film)'."
                    )
                if name == "directors.csv":
                    row["occupation"] = "film director"
                self.entities[title] = Entity(title, kind, row)
        self.films_of: dict[str, list[Entity]] = {}
        self.works_of: dict[str, list[Entity]] = {}
        for entity in self.of_kind("film"):
            self.films_of.setdefault(entity["director"], []).append(entity)
        for entity in self.of_kind("work"):
            self.works_of.setdefault(entity["creator"], []).append(entity)
        self._check()

    def _check(self) -> None:
        links = (("film", "director", "person"), ("work", "creator", "person"), ("city", "country", "country"))
        for kind, column, target in (*links, ("country", "capital", "city")):
            for entity in self.of_kind(kind):
                if entity[column] not in self or self.entities[entity[column]].kind != target:
                    raise ValueError(f"{entity.title}: its {column} {entity[column]!r} is no {target} of the tables.")
        for film in self.of_kind("film"):
            self.adjective(film["country"])

    def of_kind(self, kind: str) -> Iterator[Entity]:
        """Give out the entities of one kind in table order."""
        return (entity for entity in self.entities.values() if entity.kind == kind)

    def adjective(self, country: str) -> str:
        """Give the adjective of a country, e.g. `"French"`."""
        if country in FORMER_COUNTRIES:
            return FORMER_COUNTRIES[country]
        if country not in self.entities:
            raise ValueError(f"the country {country!r} is in no table; add it to countries.csv.")
        return self.entities[country]["demonym"]

    def country_of_nationality(self, nationality: str) -> str:
        """Give the country of a nationality, or an empty string for one of a former country."""
        return next((c.title for c in self.of_kind("country") if c["demonym"] == nationality), "")

    def __contains__(self, title: object) -> bool:
        return title in self.entities

    def __getitem__(self, title: str) -> Entity:
        return self.entities[title]

    def __len__(self) -> int:
        return len(self.entities)


def with_article(country: str) -> str:
    """Put `the` before the countries that want it."""
    return f"the {country}" if country in _THE else country


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield {key: value.strip() for key, value in row.items()}
