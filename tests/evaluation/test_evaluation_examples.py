"""Reading examples: what cannot be evaluated is said before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from support.sample_corpus import DOCUMENTS, EXAMPLES

from onegen_hf import OneGenConfig
from onegen_hf.data.prompts import prompt_ids
from onegen_hf.evaluation.examples import EvaluationExample, read_examples

IDS = [document["id"] for document in DOCUMENTS]


def test_references_become_documents() -> None:
    found = read_examples(EXAMPLES, IDS)
    assert [example.positives for example in found][:4] == [(("d0",), ("d1",)), (("d1",),), (("d2", "d3"),), ((),)]
    assert found[7].positives == (("d3",),)  # d3#1
    assert found[6].positives == ()


def test_an_id_that_holds_a_number_sign_is_itself() -> None:
    rows = [{"id": "x", "positives": [["C#1", "C#2", "C"]]}]
    assert read_examples(rows, ["C#1", "C"])[0].positives == (("C#1", "C"),)


def test_positives_that_are_nowhere() -> None:
    rows = [{"id": f"x{n}", "positives": [["d0"], ["d1", f"lost{n}"]]} for n in range(5)]
    with pytest.raises(ValueError, match=r"5 positives are not in the index: 'lost0' \(example 'x0', query token 1\)"):
        read_examples(rows, IDS)
    with pytest.raises(ValueError, match=r"1 positives are not in the documents: 'd0#x' .*Build the index"):
        read_examples([{"positives": [["d0#x"]]}], IDS, "documents")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "examples is empty: choose another split"),
        ([{"id": "x", "answers": "a town"}], "example 'x': answers is the text 'a town'"),
        ([{"id": "x", "meta": "{"}], "example 'x': meta is no JSON"),
        ([{"id": "x", "meta": "[1]"}], "example 'x': meta is .*give a JSON object"),
    ],
)
def test_malformed_rows(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_examples(rows, IDS)


@pytest.mark.parametrize("meta", ['{"type": "bridge"}', {"type": "bridge", "task": "popqa"}])
def test_group(meta: Any) -> None:
    assert read_examples([{"meta": meta}], [])[0].group == "bridge"


@pytest.mark.parametrize(("meta", "group"), [(None, None), ("", None), ('{"task": "popqa"}', "popqa")])
def test_group_without_a_type(meta: Any, group: str | None) -> None:
    assert read_examples([{"meta": meta}], [])[0].group == group


def example(messages: list[dict[str, str]], question: str = "") -> EvaluationExample:
    return read_examples([{"id": "x", "messages": messages, "question": question}], [])[0]


def test_the_prompt_is_what_stands_before_the_answer(tokenizer: Any) -> None:
    user, assistant = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Fern Bay"}
    plain = prompt_ids(tokenizer, OneGenConfig(), "Where?")
    assert example([user, assistant], "Another?").prompt_ids(tokenizer, OneGenConfig()) == plain
    assert example([user], "Another?").prompt_ids(tokenizer, OneGenConfig()) == plain
    assert example([], "Where?").prompt_ids(tokenizer, OneGenConfig()) == plain
    system = {"role": "system", "content": "Be brief."}
    ids = example([system, user, assistant]).prompt_ids(tokenizer, OneGenConfig(system_prompt="Be long."))
    assert "Be brief." in tokenizer.decode(ids)


def test_prompts_that_are_not_clear(tokenizer: Any) -> None:
    turn = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Fern Bay"}]
    with pytest.raises(ValueError, match="'x' has 2 assistant turns"):
        example([*turn, *turn]).prompt_ids(tokenizer, OneGenConfig())
    with pytest.raises(ValueError, match="neither messages nor a question"):
        example([], " ").prompt_ids(tokenizer, OneGenConfig())


def test_query_tokens_inside_a_paragraph_do_not_count() -> None:
    content = "Who? [RQ]<paragraph>The mark [RQ] is text.</paragraph> Ada. Where? [RQ] There."
    assert example([{"role": "assistant", "content": content}]).num_queries(OneGenConfig()) == 2
