"""The entities that mentions are linked to: as documents, and by the names that make them easy to confuse."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from data_builders.documents import Document
from data_builders.errors import RecordError

_WORD = re.compile(r"\w+")
_TYPE_IDS = re.compile(r"(?:Q\d+|OTHER)(?:\|(?:Q\d+|OTHER))*|", re.IGNORECASE)
# A word of more names than this ("of", "county") tells nothing about likeness, and would make the search slow.
_COMMON_WORD = 128
# Frequent mentions are asked for over and over.
_REMEMBERED = 1 << 16


def entity_document(
    record: Mapping[str, Any], *, include_types: bool = True, include_aliases: bool = False
) -> tuple[Document, list[str]]:
    """
    Turn one entity of a catalogue into a document.

    Its title is the name. Its sentences are the description, then types and aliases where they are asked for and the
    description doesn't say them; with none of these, the name alone. The document token (`[SE]`) is no part of the
    text: the encoder appends it.

    Args:
        record (`Mapping[str, Any]`):
            `entity_id` (or `id`, `qid`) and `name` (or `title`, `label`); optional `description` (or `text`,
            `sentences`), `type_names` (or a `type` in words) and `aliases`.
        include_types (`bool`, *optional*, defaults to `True`):
            Say the types.
        include_aliases (`bool`, *optional*, defaults to `False`):
            Say the aliases.

    Returns:
        `tuple[Document, list[str]]`: The document, and the name with the aliases.

    Raises:
        `RecordError`: If the id is missing, or a field has another type.
    """
    entity_id = _first(record, "entity_id", "id", "qid")
    if isinstance(entity_id, bool) or not isinstance(entity_id, (str, int)) or not str(entity_id).strip():
        raise RecordError("malformed_document", f"an entity needs an `entity_id`, got {entity_id!r}.")
    aliases = _texts(record, "aliases")
    name = _first(record, "name", "title", "label")
    if name is not None and not isinstance(name, str):
        raise RecordError("malformed_document", f"the `name` of entity {entity_id!r} must be text, got {name!r}.")
    title = (name or "").strip() or next(iter(aliases), str(entity_id))
    described = _texts(record, "sentences") or _texts(record, "description") or _texts(record, "text")
    sentences = list(described)
    said = " ".join(described)
    types = _texts(record, "type_names") or [t for t in _texts(record, "type") if not _TYPE_IDS.fullmatch(t)]
    if include_types and (missing := [name for name in types if name not in said]):
        sentences.append(f"Type: {', '.join(missing)}.")
    if include_aliases and (missing := [alias for alias in aliases if alias not in said and alias != title]):
        sentences.append(f"Also known as: {', '.join(missing)}.")
    document = Document(str(entity_id).strip(), title, tuple(sentences or [title]))
    return document, list(dict.fromkeys([title, *aliases]))


def _first(record: Mapping[str, Any], *fields: str) -> Any:
    return next((record[field] for field in fields if record.get(field) is not None), None)


def _texts(record: Mapping[str, Any], field: str) -> list[str]:
    value = record.get(field)
    values = [value] if isinstance(value, str) else ([] if value is None else value)
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise RecordError("malformed_document", f"`{field}` must be text or a list of texts, got {value!r}.")
    return [stripped for text in values if (stripped := text.strip())]


class EntityNames:
    """Entities by their names and aliases, ignoring case, in the order in which they were added."""

    def __init__(self) -> None:
        self._by_surface: dict[str, dict[str, None]] = {}
        self._by_word: dict[str, dict[str, None]] = {}
        self._rank: dict[str, int] = {}
        self._answers: dict[tuple[str, str, str, int], list[str]] = {}

    def add(self, entity_id: str, names: Iterable[str]) -> None:
        """Let `names` stand for an entity; it may have others already."""
        self._answers.clear()
        self._rank.setdefault(entity_id, len(self._rank))
        for name in names:
            surface = name.strip().casefold()
            self._by_surface.setdefault(surface, {})[entity_id] = None
            for word in _WORD.findall(surface):
                self._by_word.setdefault(word, {})[entity_id] = None

    def called(self, name: str) -> list[str]:
        """The ids of the entities that `name` stands for."""
        return list(self._by_surface.get(name.strip().casefold(), ()))

    def confusable(self, entity_id: str, mention: str, name: str, number: int) -> list[str]:
        """
        Find the entities that a mention may be taken for: hard negatives.

        Those called exactly so come first, then those that share words with mention or name, the rarer the word the
        better. Equally good ones stand in the order in which they were added.

        Args:
            entity_id (`str`): The right entity, which is left out.
            mention (`str`): How the text calls it.
            name (`str`): Its name.
            number (`int`): The most to return.

        Returns:
            `list[str]`: Ids.
        """
        question = (entity_id, mention, name, number)
        if question not in self._answers:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[question] = self._search(*question)
        return list(self._answers[question])

    def _search(self, entity_id: str, mention: str, name: str, number: int) -> list[str]:
        called_so = (other for surface in (mention, name) for other in self.called(surface))
        found = [other for other in dict.fromkeys(called_so) if other != entity_id][: max(number, 0)]
        if len(found) >= number:
            return found
        known = {entity_id, *found}
        likeness: dict[str, float] = defaultdict(float)
        for word in dict.fromkeys(_WORD.findall(f"{mention} {name}".casefold())):
            sharing = self._by_word.get(word, {})
            if len(sharing) <= _COMMON_WORD:
                for other in sharing:
                    likeness[other] += 1 / len(sharing)
        ranked = sorted(likeness.keys() - known, key=lambda other: (-likeness[other], self._rank[other]))
        return found + ranked[: number - len(found)]
