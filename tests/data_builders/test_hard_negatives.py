"""Mined negatives: what is asked, what is found, what is left out, and that it repeats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from data_builders.documents import Document, DocumentStore
from data_builders.features import DOCUMENTS_FEATURES
from data_builders.hard_negatives import Bm25Miner, DenseMiner, make_miner
from data_builders.hard_negatives.anchors import read_anchors
from data_builders.hard_negatives.bm25 import best_rows
from data_builders.schema import validate_example

PASSAGES = {
    "boat": ("The Tin Boat", "A film about a boat directed by Ada Moll."),
    "copy": ("The Tin Boat (copy)", "A film about a boat, directed by Ada Moll!"),
    "told": ("Boats in film", "Ada Moll directed a film about a boat."),
    "kite": ("The Red Kite", "A film about a kite directed by Ben Oak."),
    "tale": ("The Tin Boat", "A tale about a boat that was directed at children."),
    "hill": ("Elm Hill", "A hill with elms."),
    "ada": ("Ada Moll", "Ada Moll was born in 1950."),
}


def store() -> DocumentStore:
    documents = DocumentStore()
    for document_id, (title, text) in PASSAGES.items():
        documents.put(Document(document_id, title, (text,)))
    return documents


def example(**changes: Any) -> dict[str, Any]:
    content = (
        "Who directed the film The Tin Boat?[RQ]<paragraph>The Tin Boat\nA film.</paragraph> Ada Moll\n"
        "When was Ada Moll born?[RQ]<paragraph>Ada Moll\nShe was born.</paragraph> 1950\nAnswer: 1950"
    )
    fields = {
        "id": "e1",
        "messages": [{"role": "user", "content": "How old?"}, {"role": "assistant", "content": content}],
        "positives": [["boat"], ["ada"]],
        "negatives": [[], []],
        "question": "How old?",
        "answers": ["1950"],
        "meta": '{"type": "bridge"}',
    }
    return {**fields, **changes}


def mine(record: dict[str, Any], **options: Any) -> dict[str, Any]:
    (mined,) = Bm25Miner(**options)([record], store())
    validate_example(mined, store())
    return mined


def test_false_negatives_and_positives_are_left_out() -> None:
    # Neither the copy (same words), nor the passage that tells the answer, nor the gold passage of the other hop.
    assert mine(example())["negatives"][0] == ["tale", "kite"]
    assert "told" in mine(example(), exclude_answers=False)["negatives"][0]
    assert mine(example(), exclude_same_title=True)["negatives"][0] == ["kite"]


def test_negatives_that_are_there_come_first_and_only_once() -> None:
    mined = mine(example(negatives=[["hill", "kite"], []]), num_negatives=1)
    assert mined["negatives"][0] == ["hill", "kite", "tale"]


def test_a_positive_that_is_a_sentence_keeps_its_document_out() -> None:
    assert mine(example(positives=[["boat#0"], ["ada"]]))["negatives"][0] == ["tale", "kite"]


def test_a_query_token_without_positives_is_left_alone() -> None:
    mined = mine(example(positives=[[], ["ada"]], negatives=[["hill"], []]))
    assert mined["negatives"][0] == ["hill"]
    assert json.loads(mined["meta"])["negatives"]["mined"][0] == 0


def test_margin_leaves_out_what_scores_like_the_positive() -> None:
    assert mine(example(), relative_margin=1.0)["negatives"][0] == []
    loose, strict = (mine(example(), relative_margin=margin)["negatives"][0] for margin in (0.0, 0.6))
    assert set(strict) < set(loose)


def test_meta_says_how() -> None:
    meta = json.loads(mine(example(), num_negatives=1, k1=1.2)["meta"])
    assert meta["type"] == "bridge"
    assert meta["negatives"] == {
        "method": "bm25", "k1": 1.2, "b": 0.75, "stopwords": "english", "num_negatives": 1, "depth": 50,
        "relative_margin": None, "exclude_answers": True, "exclude_same_title": False, "mined": [1, 1],
    }  # fmt: skip


def test_rows_of_a_dataset_give_the_same_negatives() -> None:
    rows = [document.as_record() for document in store()]
    expected = list(Bm25Miner()([example()], store()))
    assert list(Bm25Miner()([example()], rows)) == expected
    assert list(Bm25Miner()([example()], Dataset.from_list(rows, features=DOCUMENTS_FEATURES))) == expected


def test_examples_are_streamed_in_order_and_batches_do_not_matter() -> None:
    records = [example(id=str(number), positives=[["boat"], []]) for number in range(7)]
    taken: list[str] = []

    def stream() -> Iterator[dict[str, Any]]:
        for record in records:
            taken.append(record["id"])
            yield record

    mined = Bm25Miner(examples_per_batch=2)(stream(), store())
    first = next(mined)
    assert taken == ["0", "1"]
    assert [first, *mined] == list(Bm25Miner()(records, store()))
    assert records[0]["negatives"] == [[], []]


def test_nothing_to_mine() -> None:
    assert mine(example(), num_negatives=0)["negatives"] == [[], []]
    plain = example(
        messages=[{"role": "assistant", "content": "Hm."}], positives=[], negatives=[], meta="", answers=None
    )
    assert mine(plain)["negatives"] == []
    alone = DocumentStore()
    alone.put(Document("boat", "", ("of the",)))
    one = example(messages=[{"role": "assistant", "content": "of the[RQ]"}], positives=[["boat"]], negatives=[[]])
    assert next(iter(Bm25Miner()([one], alone)))["negatives"] == [[]]


@pytest.mark.parametrize(
    ("content", "query", "answers"),
    [
        ("Who?[RQ]<paragraph>a\nb</paragraph> Ada\nAnswer: Ben", "Who?", ("Ada", "Gold")),
        ("Intro.\nWho?[RQ]<paragraph>a\nb</paragraph><paragraph>c\nd</paragraph> Ada", "Who?", ("Ada", "Gold")),
        ("[RQ]<paragraph></paragraph>yes", "Question", ("Gold",)),
        ("Sure.[Retrieval][RQ]<paragraph>a\nb</paragraph>[Relevant]Ada.[Utility:5]", "Question", ("Ada.", "Gold")),
        ("Who?[RQ]", "Who?", ("Gold",)),
    ],
)
def test_what_is_asked_and_answered(content: str, query: str, answers: tuple[str, ...]) -> None:
    record = example(
        messages=[{"role": "user", "content": "Question [RQ]"}, {"role": "assistant", "content": content}],
        question="Question",
        answers=["Gold", "yes", "B"],
    )
    assert read_anchors(record, "[RQ]") == [(query, answers)]


def test_an_intermediate_answer_does_not_exclude_by_the_final_one() -> None:
    assert [anchor.answers for anchor in read_anchors(example(answers=["1950", "fifty"]), "[RQ]")] == [
        ("Ada Moll",),
        ("1950", "fifty"),
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"positives": [["boat"]]}, "'e1': 2 query tokens"),
        ({"positives": [["boot"], []]}, "unknown document id 'boot'"),
        ({"negatives": [["boot"], []]}, "unknown document id 'boot'"),
    ],
)
def test_faulty_example_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        list(Bm25Miner()([example(**changes)], store()))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_negatives": -1}, "`num_negatives`"),
        ({"num_negatives": 5, "depth": 4}, "`depth`"),
        ({"relative_margin": 2.0}, "`relative_margin`"),
        ({"b": 2.0}, "`b`"),
        ({"examples_per_batch": 0}, "`examples_per_batch`"),
    ],
)
def test_faulty_options_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Bm25Miner(**options)


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="`documents` is empty"):
        list(Bm25Miner()([example()], DocumentStore()))


def test_miners_by_name() -> None:
    assert make_miner("BM25", num_negatives=2, query_token="[LK]") == Bm25Miner(num_negatives=2, query_token="[LK]")
    assert make_miner("org/model") == DenseMiner(model="org/model")
    with pytest.raises(ValueError, match="`method` is empty"):
        make_miner(" ")
    with pytest.raises(ValueError, match="`model` is empty"):
        DenseMiner()


@given(st.lists(st.integers(-1, 4), max_size=30), st.integers(1, 10))
def test_best_rows_break_ties_by_order(scores: list[int], number: int) -> None:
    expected = sorted((row for row, score in enumerate(scores) if score > 0), key=lambda row: (-scores[row], row))
    assert best_rows(np.array(scores, np.float32), number) == expected[:number]


def test_jax_is_not_imported_with_bm25s(tmp_path: Path) -> None:
    # bm25s uses it wherever it is installed, and on a GPU it takes three quarters of the memory.
    (tmp_path / "jax").mkdir()
    for name in ("__init__", "lax"):
        (tmp_path / "jax" / f"{name}.py").write_text("")
    code = (
        "import sys; from data_builders.hard_negatives.bm25 import import_bm25s; bm25s = import_bm25s()\n"
        "assert not {'jax', 'jax.lax'} & set(sys.modules), 'imported'\n"
        "assert not bm25s.selection.JAX_IS_AVAILABLE\n"
        "import jax.lax; assert import_bm25s() is bm25s; assert sys.modules['jax'] is jax"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
