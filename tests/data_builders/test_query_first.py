"""Examples in which the query token comes first, pairs without answers, and corpora that are trained on together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.builder_records import PASSAGES, record, write_lines
from support.sample_corpus import build_tokenizer

from data_builders.build import build_repository
from data_builders.documents import DocumentStore
from data_builders.multi_hop.converter import MultiHopConverter
from data_builders.own.converter import OwnConverter
from data_builders.single_hop.squad import SquadConverter
from onegen_hf import OneGenConfig, OneGenDataCollator
from onegen_hf.data.loading import join, load_documents, load_examples

CORPUS = [{"id": 7, "title": "Tin Boat", "text": "Tin Boat is a film by Ada Moll."}]
TITLED = {name: value for name, value in CORPUS[0].items() if name != "id"}
QUESTION: dict[str, Any] = {"id": "q", "question": "Who made Tin Boat?", "answers": ["Ada Moll"], "passage_id": 7}
PAIR = {name: value for name, value in QUESTION.items() if name != "answers"}
PARAGRAPH = "<paragraph>Tin Boat\nTin Boat is a film by Ada Moll.</paragraph>"


def build(converter: Any, directory: Path, rows: list[dict[str, Any]], name: str = "data") -> Path:
    corpus = write_lines(directory / "corpus.jsonl", CORPUS)
    build_repository(converter, directory / name, {"train": write_lines(directory / "rows.jsonl", rows)}, corpus)
    return directory / name


def content(repository: Path) -> str:
    (example,) = load_examples(repository)
    return str(example["messages"][-1]["content"])


def test_nothing_is_rewritten_for_a_single_hop(tmp_path: Path) -> None:
    expected = f"[RQ]{PARAGRAPH}\nAnswer: Ada Moll"
    assert content(build(SquadConverter(write_query=False), tmp_path, [QUESTION])) == expected
    own = {"question": "Who made Tin Boat?", "answer": "Ada Moll", "passages": "7"}
    assert content(build(OwnConverter(write_query=False), tmp_path, [own])) == expected
    unplaced = {"question": "Who made Tin Boat?", "answer": "Ada Moll"}
    assert content(build(OwnConverter(write_query=False), tmp_path, [unplaced])) == "[RQ]\nAnswer: Ada Moll"
    # By default the question is written again.
    assert content(build(SquadConverter(), tmp_path, [QUESTION])).startswith("Who made Tin Boat?[RQ]")


def test_hops_without_sub_questions(tmp_path: Path) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [record()])
    build_repository(MultiHopConverter(write_query=False), tmp_path / "data", {"train": rows})
    first, second = ("\n".join([title, " ".join(filter(None, map(str.strip, PASSAGES[title])))]) for title in
                     ("The Tin Boat", "Ada Moll"))  # fmt: skip
    assert content(tmp_path / "data") == (
        f"[RQ]<paragraph>{first}</paragraph> Ada Moll\n[RQ]<paragraph>{second}</paragraph> 4 May 1950\n"
        "Answer: 4 May 1950"
    )


@pytest.mark.parametrize(("write_query", "expected"), [(False, "[RQ]"), (True, "Who made Tin Boat?[RQ]")])
def test_pairs_need_no_answers(write_query: bool, expected: str, tmp_path: Path) -> None:
    converter = SquadConverter(write_query=write_query, retrieval_only=True)
    for row in (PAIR, QUESTION):  # an answer that is there is left out
        repository = build(converter, tmp_path, [row])
        assert content(repository) == expected
        assert load_examples(repository)[0]["answers"] == []
        assert load_examples(repository)[0]["positives"] == [["7"]]


def test_only_the_query_token_of_a_pair_is_trained_to_be_generated(tmp_path: Path) -> None:
    repository = build(SquadConverter(write_query=False, retrieval_only=True), tmp_path, [PAIR])
    tokenizer, config = build_tokenizer(), OneGenConfig()
    config.tokens.add_to(tokenizer)
    collator = OneGenDataCollator(tokenizer, load_documents(repository), config)
    labels = collator.encode_example(load_examples(repository)[0])["labels"]
    assert [label for label in labels if label != -100] == [config.tokens.ids(tokenizer).query]


def test_an_answer_stays_required_otherwise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`answers` is missing"):
        build(SquadConverter(write_query=False), tmp_path, [PAIR])


def test_corpora_with_the_same_ids_are_joined(tmp_path: Path) -> None:
    own = {"question": "Who made Tin Boat?", "answer": "Ada Moll", "passages": "7"}
    repositories = [
        build(SquadConverter(id_prefix="a-"), tmp_path, [QUESTION], "a"),
        build(OwnConverter(id_prefix="b-"), tmp_path, [own], "b"),
    ]
    write_lines(
        tmp_path / "hops.jsonl", [{"id": n, "title": t, "sentences": s} for n, (t, s) in enumerate(PASSAGES.items())]
    )
    rows = write_lines(tmp_path / "rows.jsonl", [record(context=None, context_titles=list(PASSAGES))])
    build_repository(MultiHopConverter(id_prefix="c-"), tmp_path / "c", {"train": rows}, tmp_path / "hops.jsonl")
    documents = join([load_documents(name) for name in [*repositories, tmp_path / "c"]])
    examples = join([load_examples(name) for name in [*repositories, tmp_path / "c"]])
    assert documents["id"] == ["a-7", "b-7", *(f"c-{n}" for n in range(len(PASSAGES)))]
    assert list(examples["positives"]) == [[["a-7"]], [["b-7"]], [["c-0"], ["c-1"]]]


SQUAD_ROW = {"id": "q", "title": "Tin Boat", "context": CORPUS[0]["text"], "question": "Who?", "answers": ["Ada Moll"]}
MUSIQUE_ROW = {
    "id": "q",
    "question": "When was the director of Tin Boat born?",
    "answer": "1950",
    "paragraphs": [
        {"idx": 0, "title": "Tin Boat", "paragraph_text": "Tin Boat is a film by Ada Moll.", "is_supporting": True},
        {"idx": 1, "title": "Ada Moll", "paragraph_text": "Ada Moll was born in 1950.", "is_supporting": True},
        {"idx": 2, "title": "Elm Hill", "paragraph_text": "Elm Hill is a hill.", "is_supporting": False},
        {"idx": 3, "title": "Elm Hill", "paragraph_text": "Elm Hill is a village.", "is_supporting": False},
    ],
    "question_decomposition": [
        {"question": "Tin Boat >> director", "answer": "Ada Moll", "paragraph_support_idx": 0},
        {"question": "When was #1 born?", "answer": "1950", "paragraph_support_idx": 1},
    ],
}


@pytest.mark.parametrize(
    ("converter", "row"),
    [
        pytest.param(SquadConverter, SQUAD_ROW, id="context"),
        pytest.param(SquadConverter, {**SQUAD_ROW, "title": ""}, id="context-without-title"),
        pytest.param(MultiHopConverter, record(), id="context-pairs"),
        pytest.param(MultiHopConverter, MUSIQUE_ROW, id="musique-paragraphs"),
    ],
)
def test_passages_that_a_record_carries_have_the_prefix_too(tmp_path: Path, converter: Any, row: Any) -> None:
    rows = write_lines(tmp_path / "rows.jsonl", [row])
    build_repository(converter(), tmp_path / "plain", {"train": rows})
    build_repository(converter(id_prefix="a-"), tmp_path / "prefixed", {"train": rows})
    plain, prefixed = (load_documents(tmp_path / name)["id"] for name in ("plain", "prefixed"))
    assert list(prefixed) == [f"a-{name}" for name in plain]
    (before,), (after,) = (load_examples(tmp_path / name) for name in ("plain", "prefixed"))
    for column in ("positives", "negatives"):
        assert after[column] == [[f"a-{reference}" for reference in references] for references in before[column]]
    assert after["messages"] == before["messages"]
    # Both corpora hold the same titles, and can be trained on together.
    assert len(join([load_documents(tmp_path / name) for name in ("plain", "prefixed")])) == 2 * len(plain)


@pytest.mark.parametrize("corpus", [[{"doc_id": 7, **TITLED}], [TITLED]], ids=["other-id-column", "no-id"])
@pytest.mark.parametrize("converter", [SquadConverter, OwnConverter, MultiHopConverter])
def test_every_passage_of_a_corpus_has_the_prefix(converter: Any, corpus: list[dict[str, Any]]) -> None:
    plain, store = DocumentStore(), DocumentStore(id_prefix="a-")
    converter().add_corpus_record(corpus[0], plain)
    converter(id_prefix="a-").add_corpus_record(corpus[0], store)
    assert [document.id for document in store] == [f"a-{document.id}" for document in plain]
    assert store.find("Tin Boat").id in store


def test_a_missing_passage_is_named_as_the_record_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`passage_id` 8 is not in the corpus"):
        build(SquadConverter(id_prefix="a-"), tmp_path, [{**QUESTION, "passage_id": 8}])
