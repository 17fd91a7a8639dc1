"""Examples whose inserted passage does not hold the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from data_builders.build import build_repository
from data_builders.documents import Document, DocumentStore
from data_builders.hard_negatives import make_miner
from data_builders.single_hop.squad import SquadConverter
from data_builders.unanswerable import NO_ANSWER, with_unanswerable
from onegen_hf import OneGenConfig


@pytest.fixture
def documents() -> DocumentStore:
    store = DocumentStore()
    store.put(Document("right", "Boats", ("The boat is red.",)))
    store.put(Document("wrong", "Ships", ("The ship is long.", "It sails.")))
    return store


def example(**changes: Any) -> dict[str, Any]:
    turn = "[RQ]<paragraph>Boats\nThe boat is red.</paragraph>\nAnswer: red"
    return {
        "id": "q",
        "messages": [{"role": "user", "content": "What colour?"}, {"role": "assistant", "content": turn}],
        "positives": [["right"]],
        "negatives": [["wrong#1"]],
        "question": "What colour?",
        "answers": ["red"],
        "meta": "{}",
        **changes,
    }


def test_the_passage_is_a_negative_and_no_answer_is_written(documents: DocumentStore) -> None:
    (turned,) = with_unanswerable([example()], documents, 1.0)
    content = turned["messages"][-1]["content"]
    assert content == f"[RQ]<paragraph>Ships\nThe ship is long. It sails.</paragraph>\n{NO_ANSWER}"
    assert OneGenConfig().answer_prefix not in content
    assert (turned["positives"], turned["negatives"]) == ([["right"]], [["wrong#1"]])
    assert turned["answers"] == [] and json.loads(turned["meta"]) == {"inserted": "wrong"}


@pytest.mark.parametrize(
    "stays",
    [
        example(negatives=[[]]),
        example(answers=[]),
        example(positives=[["right"], ["right"]], negatives=[["wrong"], ["wrong"]]),
        example(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": "[RQ]"}]),
    ],
)
def test_what_cannot_be_turned_stays(stays: dict[str, Any], documents: DocumentStore) -> None:
    assert list(with_unanswerable([stays], documents, 1.0)) == [stays]


def test_the_share_is_met_and_depends_on_the_id_alone(documents: DocumentStore) -> None:
    examples = [example(id=str(number)) for number in range(2000)]
    turned = [row["id"] for row in with_unanswerable(examples, documents, 0.2, seed=3) if not row["answers"]]
    assert 340 < len(turned) < 460  # 400 expected, standard deviation 18
    again = [row["id"] for row in with_unanswerable(examples[::-1], documents, 0.2, seed=3) if not row["answers"]]
    assert set(turned) == set(again)
    assert not any(row["answers"] == [] for row in with_unanswerable(examples, documents, 0.0))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_beyond_its_bounds_is_refused(share: float, documents: DocumentStore) -> None:
    with pytest.raises(ValueError, match="unanswerable_share"):
        list(with_unanswerable([example()], documents, share))


def test_only_the_training_split_of_a_repository_is_turned(tmp_path: Path) -> None:
    colours = ["red", "green", "blue", "white", "black", "brown"]
    corpus = [{"id": c, "title": f"The {c} boat", "text": f"This boat is painted {c}."} for c in colours]
    rows = [{"id": c, "question": f"How is the {c} boat painted?", "answers": [c], "passage_id": c} for c in colours]
    for name, records in (("corpus", corpus), ("rows", rows)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    source = str(tmp_path / "rows.jsonl")
    report = build_repository(
        SquadConverter(write_query=False),
        tmp_path / "out",
        {"train": source, "dev": source},
        str(tmp_path / "corpus.jsonl"),
        miner=make_miner("bm25", 2),
        unanswerable_share=1.0,
    )
    built = {split: load_dataset(str(tmp_path / "out"), "examples", split=split) for split in ("train", "dev")}
    assert all(row["answers"] == [] and row["negatives"][0] for row in built["train"])
    assert all(row["answers"] for row in built["dev"])
    assert report["options"]["unanswerable_share"] == 1.0
