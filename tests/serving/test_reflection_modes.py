"""The retrieval modes of a checkpoint with reflection tokens on a server: as in the pipeline, or refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support.reflection_setup import reflection_setup

from onegen_hf import OneGenRagPipeline
from onegen_hf.serving.engines.transformers import TransformersServingEngine
from onegen_hf.serving.engines.vllm.engine import VllmServingEngine
from onegen_hf.serving.limits import ServingLimits
from onegen_hf.serving.request import GenerationRequest

QUESTIONS = ["Where is Tin Boat?", "Who?", "Say a town by the sea."]


@pytest.fixture(scope="module")
def rag(base_tokenizer: Any) -> OneGenRagPipeline:
    setup, _ = reflection_setup(base_tokenizer)
    return OneGenRagPipeline(model=setup.model, tokenizer=setup.tokenizer, index=setup.index, device="cpu")


@pytest.mark.parametrize(
    "options", [{"retrieval": "always"}, {"retrieval": "never"}, {"threshold": 0.5}, {"threshold": 0.9}, {}]
)
def test_the_server_retrieves_as_the_pipeline_does(rag: OneGenRagPipeline, options: dict[str, Any]) -> None:
    engine = TransformersServingEngine(rag, ServingLimits(), "tiny")
    jobs = [engine.prepare(GenerationRequest(question, max_new_tokens=12, **options)) for question in QUESTIONS]
    for job in jobs:
        engine.join(job)
    while not all(job.ended for job in jobs):
        engine.step()
    for question, job in zip(QUESTIONS, jobs, strict=True):
        expected = rag(question, max_new_tokens=12, **options)
        result = engine.describer.describe(job.row, question)
        assert (result.text, result.usage) == (expected.text, expected.usage)


@pytest.mark.parametrize("options", [("always", None), ("adaptive", 0.5)])
def test_what_vllm_refuses(rag: OneGenRagPipeline, options: tuple[str, float | None]) -> None:
    engine = SimpleNamespace(index=rag.index, tokenizer=rag.tokenizer, config=rag.model.onegen_config)
    with pytest.raises(ValueError, match="on vLLM, a checkpoint with reflection tokens retrieves when it chooses to"):
        VllmServingEngine._new_decoder(engine, 1, 5, *options)  # type: ignore[arg-type]
    assert VllmServingEngine._new_decoder(engine, 1, 5, "never", None)  # type: ignore[arg-type]
