"""Arguments of the evaluations: named with their value before anything is computed or written."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from support.decoding_setup import Setup
from support.linking_setup import linking_setup
from transformers import pipeline

from onegen_hf.evaluation import evaluate_entity_linking, evaluate_rag, evaluate_retrieval

SHARED = [
    ("batch_size", "a"), ("batch_size", 1.5), ("level", "x"), ("level", math.nan), ("level", 2), ("seed", "x"),
    ("seed", -1), ("show_progress", "x"), ("output_dir", 5), ("output_dir", ""),
]  # fmt: skip
RAG = [
    ("k", "2"), ("max_hops", math.nan), ("max_new_tokens", 1.5), ("gold_passages", "x"), ("retrieval", 5),
    ("threshold", "x"), ("dataset", 5), ("split", 5), ("rag", 5), ("decoder_class", 5), ("decoder_class", int),
    ("examples", 5), ("examples", "text"),
]  # fmt: skip
LINKING = [
    ("top_k", "2"), ("threshold", math.nan), ("prior_weight", math.nan), ("fit_threshold", "x"), ("mode", 5),
    ("coreferences", "x"), ("datasets", 5), ("groups", 5), ("call_options", 5), ("linker", 5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SHARED + RAG)
def test_rag(llama: Setup, tmp_path: Path, name: str, value: Any) -> None:
    rag = pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=llama.index)
    arguments: dict[str, Any] = {"rag": rag, "examples": None, "output_dir": tmp_path / "out", name: value}
    with pytest.raises((TypeError, ValueError), match=f"{name}="):
        evaluate_rag(**arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value"), [*SHARED, ("k", "2"), ("index", 5), ("dataset", 5)])
def test_retrieval(llama: Setup, tmp_path: Path, name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"model": llama.model, "tokenizer": llama.tokenizer, "index": llama.index}
    with pytest.raises((TypeError, ValueError), match=f"{name}="):
        evaluate_retrieval(**{**arguments, "examples": None, "output_dir": tmp_path / "out", name: value})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def linker(base_tokenizer: Any) -> Any:
    setup = linking_setup(copy.deepcopy(base_tokenizer))
    return pipeline("onegen-entity-linking", model=setup.model, tokenizer=setup.tokenizer, mode="detection")


@pytest.mark.parametrize(("name", "value"), [*SHARED, *LINKING])
def test_linking(linker: Any, tmp_path: Path, name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"linker": linker, "datasets": {"a": []}, "output_dir": tmp_path / "out", name: value}
    with pytest.raises((TypeError, ValueError), match=f"{name}="):
        evaluate_entity_linking(**arguments)
    assert not list(tmp_path.iterdir())


def test_an_unknown_call_option(linker: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="foo=1 is no argument"):
        evaluate_entity_linking(linker, {"a": []}, tmp_path / "out", call_options={"foo": 1})
