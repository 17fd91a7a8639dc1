"""Results are dicts with attributes; an answer is what stands after the prefix; citations follow an exact rule."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
import torch
from datasets import Dataset
from support.decoding_setup import Setup
from transformers import LogitsProcessorList, pipeline

from onegen_hf import OneGenConfig
from onegen_hf.data.attribute_dict import AttributeDict, with_attributes
from onegen_hf.data.passages import Passage
from onegen_hf.generation import Hit, Retrieval
from onegen_hf.pipelines.citations import cite
from onegen_hf.pipelines.describe import extract_answer
from onegen_hf.pipelines.results import RagResult


@pytest.fixture(scope="module")
def result(llama: Setup) -> Any:
    rag = pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=llama.index)
    return rag("Who?", max_new_tokens=24, k=2, logits_processor=LogitsProcessorList([llama.script(hops=2)]))


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_a_result_is_a_dict_with_attributes(result: Any) -> None:
    assert isinstance(result, RagResult) and isinstance(result, dict)
    assert result == plain(result) and plain(result) == result and type(plain(result)) is dict
    assert result.answer == result["answer"] == "" and result.answered is False and result.citations == []
    assert result.retrievals[1].query == result["retrievals"][1]["query"]
    assert result.retrievals[0].passages[1].score == result["retrievals"][0]["passages"][1]["score"]
    assert result.usage.forwarded_tokens == result["usage"]["forwarded_tokens"]
    assert {"answer", "retrievals", "items"} <= set(dir(result))
    assert Dataset.from_list([result])[0]["text"] == result.text


@pytest.mark.parametrize("again", [lambda r: pickle.loads(pickle.dumps(r)), copy.deepcopy, copy.copy, RagResult.copy])
def test_copies_keep_their_class(result: Any, again: Any) -> None:
    other = again(result)
    assert type(other) is RagResult and other == result and other is not result
    assert type(other.retrievals[0]) is type(result.retrievals[0])


def test_attributes() -> None:
    record = AttributeDict(a=1)
    record.b = 2
    del record.a
    assert record == {"b": 2}
    with pytest.raises(AttributeError, match="no attribute 'c': its items are b"):
        record.c  # noqa: B018
    with pytest.raises(AttributeError, match="'c'"):
        del record.c


def test_plain_data_gets_attributes() -> None:
    record = with_attributes({"a": [{"b": 1}], "c": {"d": None}, "e": (1,)})
    assert record == {"a": [{"b": 1}], "c": {"d": None}, "e": (1,)}
    assert (record.a[0].b, record.c.d, record.e) == (1, None, (1,))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Who? Ada\nAnswer: Fern Bay", "Fern Bay"),
        ("Answer: a\nAnswer: b", "b"),
        ("Fern Bay is a town", ""),  # no prefix: no answer, and not all of the text
        ("Fern Bay\nAnswer:", ""),
        ("", ""),
    ],
)
def test_the_answer_stands_after_the_prefix(text: str, answer: str) -> None:
    assert extract_answer(text, OneGenConfig()) == answer


def test_without_a_prefix_everything_is_the_answer() -> None:
    assert extract_answer(" Fern Bay ", OneGenConfig(answer_prefix="")) == "Fern Bay"
    assert extract_answer("Fern Bay. More", OneGenConfig(answer_prefix="", answer_suffix=".")) == "Fern Bay"


def hop(number: int, *passages: tuple[str, str]) -> Retrieval:
    hits = [Hit(Passage(identifier, "T", text), 0.5, 0) for identifier, text in passages]
    return Retrieval(number, 10, hits, 8, torch.zeros(2))


TOWN = "She was born in Fern Bay, the Fern Bay of the north."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Fern Bay", [(1, "b", "Fern Bay")]),
        ("Fern Bay.", [(1, "b", "Fern Bay")]),  # a full stop at the end does not count
        (" north. ", [(1, "b", "north")]),
        ("fern bay", []),  # case counts
        ("Fern", [(1, "b", "Fern")]),
        ("Fer", []),  # whole words
        ("Moll", [(1, "c", "Moll"), (0, "a", "Moll")]),  # the latest hop first
        ("Ada", [(0, "a", "Ada")]),
        ("hidden", []),  # stands in the passage, but was not inserted
        ("1 + 1 (two)", [(1, "c", "1 + 1 (two)")]),  # no pattern
        ("", []),
        (".", []),
    ],
)
def test_citations(answer: str, expected: list[tuple[int, str, str]]) -> None:
    film, more = "Tin Boat is a film by Ada Moll.", "Moll counts: 1 + 1 (two). A hidden end"
    hops = [hop(0, ("a", film)), hop(1, ("b", TOWN), ("c", more))]
    citations = cite(answer, hops, [[f"T\n{film}"], [f"T\n{TOWN}", "T\nMoll counts: 1 + 1 (two)."]])
    texts = {"a": film, "b": TOWN, "c": more}
    assert [(c.hop, c.passage_id, texts[c.passage_id][c.start : c.end]) for c in citations] == expected


def test_a_passage_is_cited_once_for_the_latest_hop() -> None:
    hops = [hop(0, ("b", TOWN)), hop(1, ("b", TOWN))]
    assert cite("Fern Bay", hops, [[TOWN], [TOWN]]) == [{"hop": 1, "passage_id": "b", "start": 16, "end": 24}]
    # The passage did not fit in the second hop.
    assert [c.hop for c in cite("Fern Bay", hops, [[TOWN], []])] == [0]
