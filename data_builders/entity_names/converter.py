"""`EntityNamesConverter`: an entity catalogue alone becomes examples, one made-up text around each entity."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar

from data_builders.converter import Converter
from data_builders.documents import DocumentStore
from data_builders.entity_linking.annotation import DEFAULT_CONTINUE_TOKEN, DEFAULT_LINK_TOKEN, annotate
from data_builders.entity_linking.catalogue import EntityNames, entity_document
from data_builders.entity_linking.converter import INSTRUCTION
from data_builders.entity_names.surface import surface
from data_builders.entity_names.wordings import WORDINGS, fill, slots
from data_builders.errors import ErrorPolicy
from data_builders.records import Located
from data_builders.seeding import pick, seeded_number

_KIND_WORDS = {
    "person": ("person", "human"),
    "place": ("geographic", "location", "place", "city", "country"),
    "work": ("work", "product", "film", "book", "album"),
    "organization": ("organization", "company", "team", "club"),
}


@dataclass
class EntityNamesConverter(Converter):
    """
    First training data for entity linking: a text for every entity of a catalogue, made up around its name.

    Labelled texts mention few of a catalogue's entities; after these examples the model has seen a mention of every
    one, by its name, an alias or a part of the name, with the kind of sentence as the only context. They go before
    labelled texts ([`EntityLinkingConverter`]), in the same format, and do not replace them.

    The catalogue is given as `--examples` and, without [`~Converter.add_corpus_record`]'s files, is the corpus too.

    Args:
        query_token (`str`, *optional*, defaults to `"[LK]"`): The token after a mention.
        num_negatives (`int`, *optional*, defaults to 5): The most hard negatives per mention: entities with like names
            that are not called as the text calls this one.
        continue_token (`str`, *optional*, defaults to `"[CON]"`): The token after the query token.
        instruction (`str`, *optional*): Stands before the text in the user's message, with an empty line between.
        texts_per_entity (`int`, *optional*, defaults to 1)
        names_seed (`int`, *optional*, defaults to 0): Chooses wordings, names and companions.
        include_types (`bool`, *optional*, defaults to `True`): Say an entity's types in its document.
        include_aliases (`bool`, *optional*, defaults to `False`): Say its aliases too.

    Raises:
        `ValueError`: If `texts_per_entity` is less than 1.
    """

    query_token: str = DEFAULT_LINK_TOKEN
    continue_token: str = DEFAULT_CONTINUE_TOKEN
    instruction: str = INSTRUCTION
    texts_per_entity: int = 1
    names_seed: int = 0
    include_types: bool = True
    include_aliases: bool = False
    _similar: EntityNames = field(default_factory=EntityNames, init=False, repr=False, compare=False)
    _names: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _kinds: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _of_kind: dict[str, list[str]] = field(
        default_factory=lambda: defaultdict(list), init=False, repr=False, compare=False
    )

    name: ClassVar[str] = "entity-names"
    title: ClassVar[str] = "Texts around the names of entities"
    counted_meta: ClassVar[tuple[str, ...]] = ("kind",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts_per_entity < 1:
            raise ValueError(f"`texts_per_entity` must be at least 1, got {self.texts_per_entity}.")

    def rows(self, path: str | PathLike[str], policy: ErrorPolicy) -> Iterator[Located]:
        """Stream the entities of a catalogue, each as often as it gets texts."""
        for located in super().rows(path, policy):
            for number in range(self.texts_per_entity):
                yield located._replace(record={**located.record, "_text": number})

    def add_corpus_record(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """Put one entity of the catalogue into `store`; see [`entity_document`]."""
        document, names = entity_document(
            record, include_types=self.include_types, include_aliases=self.include_aliases
        )
        if document.id in self._names:
            return
        store.put(document)
        kind = _kind(record)
        self._similar.add(document.id, names)
        self._names[document.id], self._kinds[document.id] = names, kind
        self._of_kind[kind].append(document.id)

    def add_documents(self, record: Mapping[str, Any], store: DocumentStore) -> None:
        """The entities are the corpus."""
        self.add_corpus_record(record, store)

    def example(self, record: Mapping[str, Any], store: DocumentStore, default_id: str) -> dict[str, Any]:
        """Make up one text around an entity."""
        entity = entity_document(record)[0].id
        seed = (self.names_seed, entity, record["_text"])
        kind = self._kinds[entity]
        wording = pick([wording for wording in WORDINGS if kind in slots(wording)], *seed, "wording")
        entities = self._entities(entity, kind, slots(wording), seed)
        called = [surface(self._names[one], self._kinds[one], *seed, place) for place, one in enumerate(entities)]
        text, spans = fill(wording, called, seeded_number(*seed, "number") % 1000)
        prompt = f"{self.instruction}\n\n{text}" if self.instruction else text
        content = annotate(text, spans, self.query_token, self.continue_token)
        return {
            "id": f"{entity}-{record['_text']}",
            "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": content}],
            "positives": [[one] for one in entities],
            "negatives": [self._negatives(one, mention) for one, mention in zip(entities, called, strict=True)],
            "question": prompt,
            "answers": [],
            "meta": json.dumps({"kind": kind}),
        }

    def _entities(self, entity: str, kind: str, places: list[str], seed: tuple[object, ...]) -> list[str]:
        own = pick([number for number, place in enumerate(places) if place == kind], *seed, "place")
        everybody = list(self._names)
        return [
            entity if number == own else pick(self._of_kind.get(place) or everybody, *seed, "companion", number)
            for number, place in enumerate(places)
        ]

    def _negatives(self, entity: str, mention: str) -> list[str]:
        # Who can be called so as well would be a contradiction, not a negative: nothing else tells them apart here.
        words = set(re.findall(r"\w+", mention.casefold()))
        found = self._similar.confusable(
            entity, self._names[entity][0], self._names[entity][0], 4 * self.num_negatives
        )
        apart = [
            other for other in found if not words <= set(re.findall(r"\w+", " ".join(self._names[other]).casefold()))
        ]
        return apart[: self.num_negatives]


def _kind(record: Mapping[str, Any]) -> str:
    types = record.get("type_names") or [record.get("type") or ""]
    said = " ".join(map(str, types)).casefold()
    if "occupation" in said or said == "position":
        return "thing"
    return next((kind for kind, words in _KIND_WORDS.items() if any(word in said for word in words)), "thing")
