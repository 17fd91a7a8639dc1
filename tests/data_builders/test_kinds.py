"""Kinds of mentions: of labels, in the instruction, and what a build makes of them."""

from __future__ import annotations

import json

import pytest
from datasets import load_dataset

from data_builders.build import build_repository
from data_builders.entity_linking import EntityLinkingConverter
from data_builders.entity_linking.kinds import KINDS, PROPER_NAMES, check_kinds, instruction_for, kinds_of
from data_builders.entity_linking.labels import Label

PERSON, PLACE, ORGANIZATION, ROLE, PEOPLE = "Q215627", "Q27096213", "Q43229", "Q4164871", "Q33829"


def kinds(mention, entity="Q1", name="", type="OTHER", **more):
    return set(kinds_of(Label(0, 0, len(mention), entity, name or mention, type, **more), mention))


@pytest.mark.parametrize(
    ("mention", "options", "expected"),
    [
        ("Ada Moll", {"type": PERSON}, {"persons"}),
        ("ada", {"type": PERSON, "name": "Ada Moll"}, {"persons"}),
        ("Fern Bay", {"type": f"{PLACE}|{ORGANIZATION}"}, {"places", "organizations"}),
        ("Turkish", {"type": PLACE, "name": "Turkey"}, {"demonyms"}),
        ("Britain", {"type": PLACE, "name": "United Kingdom"}, {"places"}),
        ("Americans", {"type": PEOPLE}, {"demonyms"}),
        ("The Long Way", {"type": "Q17537576"}, {"others"}),
        ("novel", {"type": "Q483394"}, {"nouns"}),
        ("Mayor", {"type": ROLE}, {"nouns"}),
        ("priests", {"type": f"{PERSON}|{ROLE}"}, {"nouns"}),
        ("she", {"type": PERSON, "name": "Ada Moll"}, {"coreferences"}),
        ("The actress", {"type": PERSON, "coref": True}, {"coreferences"}),
        ("1999", {"entity": "DATETIME"}, {"dates"}),
        ("12", {"type": "QUANTITY"}, set()),
        ("Zed Corp", {"entity": "<NIL>"}, set(PROPER_NAMES)),
        ("a man", {"entity": "<NIL>"}, {"nouns"}),
    ],
)
def test_kinds_of_labels(mention, options, expected):
    assert kinds(mention, **options) == expected


def test_the_instruction_says_the_kinds():
    assert instruction_for("names").endswith("Kinds: proper names.")
    assert instruction_for(["nouns", "names"]).endswith("Kinds: proper names, common nouns.")
    assert instruction_for("places, persons").endswith("Kinds: persons, places.")
    assert check_kinds("all") == tuple(KINDS)
    for faulty in ("", [], "names,verbs"):
        with pytest.raises(ValueError, match="must be one or more of persons"):
            check_kinds(faulty)


TEXT = "Ada Moll, a Turkish poet, told Zed Corp in Fern Bay that she left."
LABELS = [
    ("Ada Moll", "Q1", PERSON), ("Turkish", "Q2", PLACE), ("poet", "Q3", ROLE), ("Zed Corp", "<NIL>", "OTHER"),
    ("Fern Bay", "Q4", PLACE), ("she", "Q1", PERSON),
]  # fmt: skip


@pytest.fixture
def annotated(tmp_path):
    places = {mention: TEXT.index(mention) for mention, *_ in LABELS}
    labels = [
        {"span": [places[m], places[m] + len(m)], "entity_id": entity, "name": entity, "type": kind}
        for m, entity, kind in LABELS
    ]
    source = tmp_path / "texts.jsonl"
    source.write_text(json.dumps({"id": 1, "text": TEXT, "labels": labels}) + "\n")

    def build(**options):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        build_repository(EntityLinkingConverter(unlinkable="empty", **options), out, {"train": source})
        (example,) = load_dataset(str(out), "examples", split="train")
        user, assistant = (message["content"] for message in example["messages"])
        return user, assistant.replace("[LK][CON]", "").replace("MENTION>", "M>")

    return build


def test_only_labels_of_the_kinds_are_marked(annotated):
    user, names = annotated(kinds="names")
    assert user == f"{instruction_for('names')}\n\n{TEXT}"
    assert names == "<M>Ada Moll</M>, a Turkish poet, told <M>Zed Corp</M> in <M>Fern Bay</M> that she left."
    assert annotated(kinds="all")[1] == (
        "<M>Ada Moll</M>, a <M>Turkish</M> <M>poet</M>, told <M>Zed Corp</M> in <M>Fern Bay</M> that <M>she</M> left."
    )


def test_a_label_of_an_unknown_kind_is_unlabelled(annotated):
    assert annotated(kinds="persons")[1] == (
        "<M>Ada Moll</M>, a Turkish poet, told<unlabelled> Zed Corp</unlabelled> in Fern Bay that she left."
    )


def test_without_kinds_all_labels_are_marked_as_before(annotated):
    user, assistant = annotated()
    assert "Kinds:" not in user and "<unlabelled>" not in assistant
