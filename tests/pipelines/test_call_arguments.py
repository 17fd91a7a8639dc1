"""Call arguments of the pipelines: named with their value before any text is read."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from datasets import Dataset
from support.decoding_setup import Setup
from support.linking_setup import ENTITIES, linking_setup
from transformers import Pipeline, TextStreamer, pipeline

from onegen_hf import OneGenRagPipeline, PassageIndex

GENERATION = [
    ("max_length", "x"), ("max_new_tokens", 0), ("min_new_tokens", "x"), ("min_length", -3), ("num_beams", "x"),
    ("temperature", "x"), ("top_p", 5), ("epsilon_cutoff", 7), ("eta_cutoff", "x"), ("top_h", "x"),
    ("max_time", math.nan),
    ("no_repeat_ngram_size", "x"), ("bad_words_ids", "x"), ("suppress_tokens", "x"), ("sequence_bias", "x"),
    ("stop_strings", 5), ("eos_token_id", "x"), ("pad_token_id", "x"), ("do_sample", "yes"),
    ("renormalize_logits", "x"),
    ("logits_processor", 5), ("stopping_criteria", 5), ("generation_config", 5), ("batch_size", "a"),
    ("batch_size", 0),
    ("num_workers", "x"), ("no_such_option", 1),
    ("streamer", 5), ("streamer", TextStreamer), ("logits_processor", [5]), ("stopping_criteria", [None]),
    ("prefix_allowed_tokens_fn", 3), ("sequence_bias", [5]), ("sequence_bias", {(5,): "x"}),
    ("exponential_decay_length_penalty", ["a", "b"]), ("exponential_decay_length_penalty", (1,)),
]  # fmt: skip
RAG = [("k", "2"), ("k", 1.5), ("max_hops", math.nan), ("retrieval", 5), ("threshold", 2), ("K", 1)]
LINKING = [
    ("top_k", "5"), ("threshold", "x"), ("threshold", math.nan), ("prior_weight", math.nan), ("boundaries", 5),
    ("decoding", 5), ("mode", 5), ("instruction", 5), ("instruction", "a\ud800"), ("max_window_tokens", "x"),
    ("max_window_tokens", 3), ("window_overlap", 1.5), ("window_overlap", -1), ("return_dict", 5),
]  # fmt: skip


@pytest.fixture(scope="module")
def rag(llama: Setup) -> Pipeline:
    return pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=llama.index)


@pytest.fixture(scope="module")
def linker(base_tokenizer: Any) -> Pipeline:
    setup = linking_setup(copy.deepcopy(base_tokenizer))
    index = PassageIndex.build(setup.model, setup.tokenizer, ENTITIES, show_progress=False)
    return pipeline("onegen-entity-linking", model=setup.model, tokenizer=setup.tokenizer, index=index)


@pytest.mark.parametrize(("name", "value"), GENERATION + RAG)
def test_rag(rag: Pipeline, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        rag(None, **{name: value})


@pytest.mark.parametrize(("name", "value"), GENERATION + LINKING)
def test_linking(linker: Pipeline, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        linker(None, **{name: value})


def test_infinity_is_a_threshold(linker: Pipeline) -> None:
    given = {"text": "Ada Moll paints.", "spans": [[0, 8]]}
    assert linker(given, threshold=math.inf)[0]["entity_id"] == "NIL"
    assert linker(given, threshold=-math.inf)[0]["entity_id"] != "NIL"


@pytest.mark.parametrize("index", [[{"id": "a", "text": "b"}], 5, {}])
def test_an_index_that_is_none(llama: Setup, index: Any) -> None:
    with pytest.raises(TypeError, match=r"index=.*must be a PassageIndex.*PassageIndex\.build"):
        pipeline("onegen-rag", model=llama.model, tokenizer=llama.tokenizer, index=index)


def test_a_similar_name_is_offered(rag: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"max_new_token=5 is no argument.*did you mean 'max_new_tokens'"):
        rag("Why?", max_new_token=5)


def test_a_dataset_without_texts(linker: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"columns \['question'\].*'text'"):
        linker(Dataset.from_dict({"question": ["a"]}))


@pytest.mark.parametrize("spans", [5, "x", {}])
def test_spans_that_are_no_list(linker: Pipeline, spans: Any) -> None:
    with pytest.raises(TypeError, match="spans=.*must be a list"):
        linker({"text": "Ada Moll paints.", "spans": spans})


def test_lengths_that_contradict_each_other(rag: Pipeline, linker: Pipeline) -> None:
    for each in (rag, linker):
        with pytest.raises(ValueError, match="min_new_tokens=10 is above max_new_tokens=3: lower the one or raise"):
            each(None, min_new_tokens=10, max_new_tokens=3)


def test_a_padding_token_beyond_the_vocabulary(rag: Pipeline) -> None:
    with pytest.raises(ValueError, match="pad_token_id=1000000 is beyond the vocabulary"):
        rag("Who?", pad_token_id=10**6)


def test_a_prior_needs_aliases(linker: Pipeline) -> None:
    with pytest.raises(ValueError, match=r"prior_weight=0.5 needs the pipeline to be made with `aliases=...`"):
        linker("Ada Moll", prior_weight=0.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokenizer", 5, "tokenizer=5 must be a PreTrainedTokenizerBase"),
        ("device", "foo", "device='foo' is unknown: choose 'cpu'"),
        ("device", 999, "device=999: this machine has"),
        ("device", True, "device=True must be"),
        ("index", "./nowhere", "index='./nowhere': no such directory"),
        ("index", "", "index='' is empty"),
    ],
)
def test_parts_of_a_pipeline(llama: Setup, name: str, value: Any, message: str) -> None:
    parts = {"tokenizer": copy.deepcopy(llama.tokenizer), "index": llama.index, name: value}
    with pytest.raises((TypeError, ValueError, FileNotFoundError), match=message):
        OneGenRagPipeline(model=llama.model, **parts)
