"""What the pipeline refuses, and how its texts are read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from support.decoding_setup import Setup
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_backbone, tiny_model
from transformers import pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from onegen_hf import PassageIndex, register_pipelines
from onegen_hf.pipelines import OneGenRagPipeline


def make(setup: Setup, **changes: Any) -> OneGenRagPipeline:
    arguments: dict[str, Any] = dict(model=setup.model, tokenizer=copy.deepcopy(setup.tokenizer), index=setup.index)
    return pipeline("onegen-rag", **{**arguments, **changes})


def test_registering_twice_changes_nothing() -> None:
    before = PIPELINE_REGISTRY.check_task("onegen-rag")
    register_pipelines()
    assert PIPELINE_REGISTRY.check_task("onegen-rag") == before


@pytest.mark.parametrize("question", ["", "   ", None, 5, {"text": "x"}, [["nested"]]])
def test_no_question(llama: Setup, question: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="question|messages"):
        make(llama)(question)


def test_no_questions(llama: Setup) -> None:
    rag = make(llama)
    assert rag([]) == rag(Dataset.from_list([])) == rag(Dataset.from_dict({"question": []})) == []


def test_a_question_longer_than_the_context(llama: Setup) -> None:
    with pytest.raises(ValueError, match=r"takes \d+ tokens, but the model's context holds 512: shorten"):
        make(llama)("why " * 600)


def test_no_index(llama: Setup) -> None:
    with pytest.raises(ValueError, match="index is missing, and the checkpoint names no default one"):
        make(llama, index=None)


def test_no_such_index(llama: Setup, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        make(llama, index=tmp_path / "nowhere")


def test_an_index_of_another_model(llama: Setup) -> None:
    tokenizer = copy.deepcopy(llama.tokenizer)
    other = PassageIndex.build(tiny_model(tokenizer, seed=9), tokenizer, DOCUMENTS, show_progress=False)
    with pytest.raises(ValueError, match="made by another model"):
        make(llama, index=other)


def test_a_default_index_outside_of_the_checkpoint(llama: Setup, tmp_path: Path) -> None:
    model = copy.deepcopy(llama.model)
    model.name_or_path = str(tmp_path)
    model.onegen_config.default_index = "./../elsewhere"
    with pytest.raises(ValueError, match="leads out of the checkpoint"):
        make(llama, model=model, index=None)


def test_a_tokenizer_without_the_tokens(llama: Setup, base_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        make(llama, tokenizer=copy.deepcopy(base_tokenizer))


def test_a_plain_language_model(llama: Setup) -> None:
    with pytest.raises(TypeError, match="LlamaForCausalLM without retrieval tokens.*'multi-hop-paper'"):
        make(llama, model=tiny_backbone())


def test_a_plain_checkpoint(llama: Setup, tmp_path: Path, base_tokenizer: Any) -> None:
    tiny_backbone().save_pretrained(tmp_path)
    base_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="LlamaForCausalLM without retrieval tokens.*'multi-hop-paper'"):
        pipeline("onegen-rag", model=str(tmp_path), index=llama.index)


def test_a_tokenizer_that_pads_on_the_right_or_not_at_all(llama: Setup) -> None:
    tokenizer = copy.deepcopy(llama.tokenizer)
    tokenizer.padding_side, tokenizer.pad_token = "right", None
    found = make(llama, tokenizer=tokenizer)(["Why?", "Where is the boat?"], batch_size=2, max_new_tokens=6)
    expected = make(llama)(["Why?", "Where is the boat?"], max_new_tokens=6)
    assert [result["text"] for result in found] == [result["text"] for result in expected]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_query_of_an_answer_that_begins_with_a_retrieval(llama: Setup, batch_size: int) -> None:
    chat = [
        {"role": "user", "content": "Who made Tin Boat?"},
        {"role": "assistant", "content": "Ada Moll"},
        {"role": "user", "content": " And where was she born? "},
    ]
    results = make(llama)(["Who made it?", chat], batch_size=batch_size, threshold=0.0, max_hops=1, max_new_tokens=4)
    assert [[retrieval["query"] for retrieval in result["retrievals"]] for result in results] == [
        ["Who made it?"],
        ["And where was she born?"],
    ]


def test_a_broken_section_is_named(llama: Setup) -> None:
    plain = tiny_backbone()
    plain.config.onegen = {"tokens": 5}
    with pytest.raises(ValueError, match="'onegen' section that cannot be read"):
        make(llama, model=plain)
