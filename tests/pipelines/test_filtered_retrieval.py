"""Questions with filters: each question's own in a batch, in every way to ask."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.decoding_setup import Setup
from support.sample_corpus import DOCUMENTS
from transformers import pipeline

from onegen_hf import PassageIndex

ASKS = {"retrieval": "adaptive", "threshold": 0.0}
OPTIONS = {**ASKS, "max_hops": 1, "max_new_tokens": 24, "k": 3}


@pytest.fixture(scope="module")
def rag(llama: Setup) -> Any:
    documents = [{**document, "meta": {"n": n, "odd": n % 2 == 1}} for n, document in enumerate(DOCUMENTS)]
    index = PassageIndex.build(llama.model, llama.tokenizer, documents, show_progress=False)
    return pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=index)


def metas(result: Any) -> list[dict[str, Any]]:
    return [passage["meta"] for hop in result["retrievals"] for passage in hop["passages"]]


def test_each_question_of_a_batch_has_its_own_filter(rag: Any) -> None:
    questions = [
        {"question": "Where is it?", "filter": {"odd": True}},
        {"question": "Where is it?", "filter": {"n": {"$lt": 2}}},
        "Where is it?",
        {"question": "Where is it?", "filter": {"odd": True}},
    ]
    together = rag(questions, batch_size=3, filter={"odd": False}, **OPTIONS)
    assert together[0]["retrievals"] and all(meta["odd"] for meta in metas(together[0]))
    assert metas(together[1]) and all(meta["n"] < 2 for meta in metas(together[1]))
    assert metas(together[2]) and not any(meta["odd"] for meta in metas(together[2]))
    alone = [rag(question, filter={"odd": False}, **OPTIONS) for question in questions]
    assert [metas(result) for result in together] == [metas(result) for result in alone]
    assert [result["text"] for result in together] == [result["text"] for result in alone]


def test_several_answers_to_a_question_keep_its_filter(rag: Any) -> None:
    results = rag(
        ["Where?", {"question": "Who?", "filter": {"n": 1}}],
        batch_size=2, num_return_sequences=2, do_sample=True, filter={"n": 0}, **OPTIONS,
    )  # fmt: skip
    assert [[meta["n"] for meta in metas(answer)] for answers in results for answer in answers] == [[0], [0], [1], [1]]


def test_retrieving_and_streaming_with_a_filter(rag: Any) -> None:
    passages = rag.retrieve("Where is it?", k=50, filter={"odd": True}, **ASKS)
    assert {passage.id for passage in passages} == {d["id"] for n, d in enumerate(DOCUMENTS) if n % 2}
    assert rag.retrieve({"question": "Where?", "filter": {"n": 99}}, **ASKS) == []
    *_, done = rag.stream("Where is it?", filter={"n": {"$in": [0, 3]}}, **OPTIONS)
    assert {meta["n"] for meta in metas(done.result)} == {0, 3}


def test_a_filter_that_leaves_nothing_leaves_an_answer(rag: Any) -> None:
    result = rag("Where is it?", filter={"n": -1}, **OPTIONS)
    assert result["retrievals"][0]["passages"] == [] and result["text"]


@pytest.mark.parametrize("question", ["Where?", {"question": "Where?", "filter": {"n": {"$gte": None}}}])
def test_what_is_wrong_in_a_filter_is_said_before_anything_is_decoded(rag: Any, question: Any) -> None:
    options = {} if isinstance(question, dict) else {"filter": {"n": {"$gte": None}}}
    with pytest.raises(TypeError, match=r"filter\['n'\]\['\$gte'\]=None must be a number or a text"):
        rag(question, **options)
