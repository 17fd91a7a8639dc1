"""`EntityNamesConverter`: a catalogue alone becomes examples of entity linking."""

import json

import pytest
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from data_builders.build import build_repository
from data_builders.entity_linking.annotation import remove_annotation
from data_builders.entity_names.converter import EntityNamesConverter
from data_builders.entity_names.surface import surface
from data_builders.entity_names.wordings import KINDS, WORDINGS, fill, slots

CATALOGUE = [
    {
        "entity_id": "Q1",
        "name": "Ada Moll",
        "type_names": ["person"],
        "aliases": ["A. Moll"],
        "description": "A poet.",
    },
    {"entity_id": "Q2", "name": "Ben Moll", "type_names": ["person"], "description": "A smith."},
    {"entity_id": "Q3", "name": "Ada Kern", "type_names": ["person"], "description": "A judge."},
    {"entity_id": "Q4", "name": "Tollburg (Ruhland)", "type_names": ["geographic entity"], "description": "A town."},
    {"entity_id": "Q5", "name": "Bank of Tollburg", "type_names": ["organization"], "description": "A bank."},
    {"entity_id": "Q6", "name": "The Long Way Home", "type_names": ["creative work"], "description": "A film."},
    {"entity_id": "Q7", "name": "baker", "type_names": ["occupation"], "description": "Makes bread."},
]


@pytest.fixture
def built(tmp_path):
    source = tmp_path / "catalogue.jsonl"
    source.write_text("".join(json.dumps(entity) + "\n" for entity in CATALOGUE))

    def build(**options):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        report = build_repository(EntityNamesConverter(**options), out, {"train": source})
        return report, load_dataset(str(out), "examples", split="train"), load_dataset(str(out), "documents")["train"]

    return build


def test_every_entity_has_its_texts_and_is_a_document(built):
    report, examples, documents = built(texts_per_entity=3)
    assert documents["id"] == [entity["entity_id"] for entity in CATALOGUE]
    assert report["splits"]["train"]["examples"] == 3 * len(CATALOGUE)
    for example in examples:
        entity = example["id"].rpartition("-")[0]
        assert [entity] in example["positives"]


def test_the_answer_is_the_text_with_its_marks(built):
    _, examples, _ = built(texts_per_entity=5)
    for example in examples:
        user, assistant = (message["content"] for message in example["messages"])
        assert user.endswith("\n\n" + remove_annotation(assistant))
        assert assistant.count("[LK][CON]") == len(example["positives"]) == len(example["negatives"])


def test_who_can_be_called_so_too_is_no_negative(built):
    _, examples, _ = built(texts_per_entity=120)
    seen = 0
    for example in examples:
        mentions = [part.split("</MENTION>")[0] for part in example["messages"][1]["content"].split("<MENTION>")[1:]]
        for mention, negatives in zip(mentions, example["negatives"], strict=True):
            if mention.lower() == "moll":
                assert not {"Q1", "Q2"} & set(negatives)
                seen += 1
            if mention == "Ada Moll":
                assert set(negatives) == {"Q2", "Q3"}
                seen += 1
    assert seen > 5


def test_the_same_seed_gives_the_same_texts(built):
    first, again, other = (list(built(names_seed=seed)[1]["question"]) for seed in (0, 0, 1))
    assert first == again != other


def test_texts_per_entity_must_be_positive():
    with pytest.raises(ValueError, match="`texts_per_entity` must be at least 1, got 0"):
        EntityNamesConverter(texts_per_entity=0)


@pytest.mark.parametrize("wording", WORDINGS)
def test_spans_of_a_wording_are_where_the_names_stand(wording):
    names = [f"Name {number}" for number, _ in enumerate(slots(wording))]
    text, spans = fill(wording, names, 7)
    assert names and [text[start:end] for start, end in spans] == names
    assert "{" not in text


def test_every_kind_has_wordings():
    assert all(any(kind in slots(wording) for wording in WORDINGS) for kind in KINDS)


@given(st.text(min_size=1).filter(str.strip), st.sampled_from(KINDS), st.integers())
@settings(max_examples=200, deadline=None)
def test_a_surface_is_never_empty(name, kind, seed):
    assert surface([name], kind, seed)


def test_surfaces_of_a_person_and_of_a_long_name():
    def all_surfaces(name, kind):
        return {surface([name], kind, seed) for seed in range(200)}

    assert all_surfaces("Ada Moll", "person") == {"Ada Moll", "Ada", "Moll", "ada moll", "ada", "moll"}
    assert "BOT" not in all_surfaces("Bank of Tollburg", "organization")
    assert "RNS" in all_surfaces("Royal Navy School", "organization")
    assert all_surfaces("Tollburg (Ruhland)", "place") >= {"Tollburg", "Tollburg (Ruhland)", "tollburg"}
