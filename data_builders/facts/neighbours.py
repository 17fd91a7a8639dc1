"""Distractors for a question: passages easily taken for a gold one that don't hold its answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from data_builders.facts.fact_base import Entity, FactBase
from data_builders.facts.relations import Step
from data_builders.seeding import seeded_number, shuffled

CONTEXT_SIZE = 10
_TELLING = ("director", "creator", "country", "nationality", "occupation", "birth_place", "continent", "genre", "kind")


class Neighbours:
    """
    Finds the entities most like a gold one.

    Args:
        facts (`FactBase`):
            The tables.
        texts (`Mapping[str, str]`):
            The text of each passage by title.
    """

    def __init__(self, facts: FactBase, texts: Mapping[str, str]) -> None:
        self._facts = facts
        self._texts = {title: f"{title}\n{text}" for title, text in texts.items()}
        self._likeness: dict[str, list[tuple[float, str]]] = {}

    def context(self, record_id: str, steps: Sequence[Step], passes: Callable[[str], bool]) -> list[str]:
        """
        Choose the passages of a question, gold ones among them, shuffled.

        A passage that names both the subject and the answer of a hop answers it as well as the gold one does (the
        passage of Poland says what Warsaw's says), so it is no distractor.

        Args:
            record_id (`str`):
                Seeds the choice.
            steps (`Sequence[Step]`):
                The hops.
            passes (`Callable`):
                Tells whether a passage may be used.

        Returns:
            `list[str]`: Ten titles.
        """
        gold = list(dict.fromkeys(step.title for step in steps))
        queues = []
        for title in gold:
            # A little noise, lest one passage be the distractor of its twin in every question.
            ranked = sorted(
                self._ranked(title), key=lambda pair: -pair[0] - seeded_number(record_id, pair[1]) / 2**64 * 1.5
            )
            queues.append([name for _, name in ranked[: 4 * CONTEXT_SIZE]])
        chosen = list(gold)
        for name in (name for row in zip(*queues, strict=False) for name in row):
            if len(chosen) == CONTEXT_SIZE:
                break
            if name not in chosen and passes(name) and not any(self._answers(name, step) for step in steps):
                chosen.append(name)
        return shuffled(chosen, record_id, "context")

    def _answers(self, title: str, step: Step) -> bool:
        text = self._texts[title]
        return _mentions(text, step.title) and _mentions(text, step.answer)

    def _ranked(self, title: str) -> list[tuple[float, str]]:
        if title not in self._likeness:
            entity = self._facts[title]
            others = (other for other in self._facts.of_kind(entity.kind) if other.title != title)
            ranked = sorted(others, key=lambda other: (-_likeness(entity, other), seeded_number(title, other.title)))
            self._likeness[title] = [(_likeness(entity, other), other.title) for other in ranked[: 5 * CONTEXT_SIZE]]
        return self._likeness[title]


def _likeness(left: Entity, right: Entity) -> float:
    score = sum(1.0 for name in _TELLING if left[name] and left[name] == right[name])
    for name in ("year", "birth"):
        if left[name] and right[name]:
            score += max(0.0, 1.0 - abs(int(left[name][:4]) - int(right[name][:4])) / 20)
    words = set(left.title.lower().split()) & set(right.title.lower().split()) - {"the", "of", "and", "a"}
    return score + len(words)


def _mentions(text: str, name: str) -> bool:
    # The plain search is much faster and rules nearly all texts out.
    return name in text and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
