"""Train, index, ask: a tiny model that learned its examples by heart answers them with the right passages."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_model
from support.training_setup import QUIET
from transformers import TextIteratorStreamer, pipeline
from transformers.pipelines.pt_utils import KeyDataset

import onegen_hf  # noqa: F401  (registers the pipeline)
from onegen_hf import OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments, PassageIndex
from onegen_hf.modeling.tokenizers import load_tokenizer

LEARNT = [0, 1]
QUESTIONS = [EXAMPLES[number]["question"] for number in LEARNT]


def as_retrieved(example: dict[str, Any]) -> dict[str, Any]:
    """The example with its paragraphs as the index has them: title and all sentences."""
    content = example["messages"][1]["content"]
    for document in DOCUMENTS:
        passage = f"{document['title']}\n{' '.join(document['sentences'])}"
        content = content.replace(f"<paragraph>{document['sentences'][0]}<", f"<paragraph>{passage}<")
    return {**example, "messages": [example["messages"][0], {"role": "assistant", "content": content}]}


@pytest.fixture(scope="module")
def trained(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A checkpoint with an index in its folder `index`, both on disk."""
    root = tmp_path_factory.mktemp("trained")
    tokenizer = copy.deepcopy(base_tokenizer)
    args = OneGenTrainingArguments(
        str(root), **{**QUIET, "logging_steps": 20}, max_steps=60, per_device_train_batch_size=2, learning_rate=1e-2,
        num_random_negatives=4, bpr_negatives="sum",
    )  # fmt: skip
    model = tiny_model(tokenizer, seed=3)
    settings = model.onegen_config
    settings.default_index = "./index"
    model.set_onegen_config(settings)
    rows = Dataset.from_list([as_retrieved(EXAMPLES[number]) for number in LEARNT])
    trainer = OneGenTrainer(model, args, rows, documents=DOCUMENTS, processing_class=tokenizer)
    trainer.train()
    checkpoint = root / "checkpoint"
    trainer.save_model(str(checkpoint))
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(checkpoint / "index")
    return SimpleNamespace(path=checkpoint, log=trainer.state.log_history)


@pytest.fixture(scope="module")
def rag(trained: SimpleNamespace) -> Any:
    return pipeline("onegen-rag", model=str(trained.path))


def test_both_losses_fell(trained: SimpleNamespace) -> None:
    first, last = trained.log[0], trained.log[2]
    assert last["loss_gen"] < 0.3 * first["loss_gen"]
    assert last["loss_ret"] < 0.3 * first["loss_ret"]


def test_two_hops(rag: Any) -> None:
    result = rag(QUESTIONS[0])
    assert result["answer"] == "Fern Bay"
    assert [[p["id"] for p in r["passages"]] for r in result["retrievals"]] == [["d0"], ["d1"]]
    assert [r["hop"] for r in result["retrievals"]] == [0, 1]
    assert [r["query"] for r in result["retrievals"]] == ["Who made Tin Boat?", "Ada Moll. Where was she born?"]
    passage = result["retrievals"][0]["passages"][0]
    assert passage["title"] == "Tin Boat" and passage["text"] == " ".join(DOCUMENTS[0]["sentences"])
    assert 0.5 < passage["score"] <= 1.001
    # What was retrieved stands in the text as the index has it, title included.
    assert "<paragraph>Tin Boat\nTin Boat is a film by Ada Moll. It has a boat in it.</paragraph>" in result["text"]
    assert result["text"].endswith("Answer: Fern Bay")
    assert result["stop_reason"] == "eos" and result["retrieval_stopped"] is None
    usage = result["usage"]
    assert usage["forwarded_tokens"] == (
        usage["prompt_tokens"] + usage["generated_tokens"] + usage["retrieved_tokens"] - 1
    )


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_lists_mappings_and_datasets_give_what_single_questions_give(rag: Any, batch_size: int) -> None:
    questions = [*QUESTIONS, "Who made it?", *QUESTIONS]
    alone = [rag(question) for question in questions]
    rows = Dataset.from_dict({"question": questions})
    forms: list[Any] = [questions, [{"question": question} for question in questions], KeyDataset(rows, "question")]
    for form in forms:
        found = list(rag(form, batch_size=batch_size))
        assert [result["text"] for result in found] == [result["text"] for result in alone]
        assert [result["usage"] for result in found] == [result["usage"] for result in alone]
    for form in (rows, rows.to_iterable_dataset()):
        assert [result["text"] for result in rag(form, batch_size=batch_size)] == [result["text"] for result in alone]


def test_options_of_a_call(rag: Any) -> None:
    question = QUESTIONS[0]
    assert [len(r["passages"]) for r in rag(question, k=3, max_hops=1)["retrievals"]] == [3]
    assert rag(question, max_hops=1)["retrieval_stopped"] == "max_hops"
    assert rag(question, max_new_tokens=5)["usage"]["generated_tokens"] == 5
    assert rag(question, max_new_tokens=5)["stop_reason"] == "max_new_tokens"
    assert rag(question, do_sample=True, top_k=1)["text"] == rag(question)["text"]


def test_options_of_the_pipeline(trained: SimpleNamespace) -> None:
    rag = pipeline("onegen-rag", model=str(trained.path), max_hops=1, max_new_tokens=40)
    assert len(rag(QUESTIONS[0])["retrievals"]) == 1


def test_streamer(rag: Any) -> None:
    streamer = TextIteratorStreamer(rag.tokenizer, skip_prompt=True)
    result = rag(QUESTIONS[1], streamer=streamer)
    assert "".join(streamer).removesuffix(rag.tokenizer.eos_token) == result["text"]


def test_loaded_objects_instead_of_names(trained: SimpleNamespace, rag: Any) -> None:
    model = OneGenForCausalLM.from_pretrained(trained.path)
    index = PassageIndex.load(trained.path / "index")
    again = pipeline("onegen-rag", model=model, tokenizer=load_tokenizer(trained.path), index=index)
    assert again(QUESTIONS[0]) == rag(QUESTIONS[0])


@settings(max_examples=20, deadline=None)
@given(question=st.text(min_size=1).filter(str.strip))
def test_any_question_is_answered_without_a_crash(rag: Any, question: str) -> None:
    result = rag(question, max_new_tokens=8, max_hops=2)
    assert isinstance(result["answer"], str)
    usage = result["usage"]
    assert usage["forwarded_tokens"] == (
        usage["prompt_tokens"] + usage["generated_tokens"] + usage["retrieved_tokens"] - 1
    )
