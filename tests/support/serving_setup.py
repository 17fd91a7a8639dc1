"""A tiny pipeline whose random model asks for passages by itself, and the server's parts around it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from transformers import pipeline

from onegen_hf import OneGenConfig, PassageIndex
from onegen_hf.serving import GenerationRequest, Refusal, Scheduler, ServingLimits
from onegen_hf.serving.engines import TransformersServingEngine
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model

QUESTIONS = [
    "Where is it?",
    "Who made Tin Boat, and where was she born?",
    "Say a town by the sea in the north.",
    "Why",
    "Who sang Grey Stone?",
    "When?",
]


def asking_pipeline(
    tokenizer: Any, query_scale: float = 2.0, end_scale: float = 1.5, seed: int = 2, model: Any = None
) -> Any:
    """The head's rows for the query token and the end token are random and large, so both are written at times."""
    tokenizer.padding_side = "left"
    if model is None:
        model = tiny_model(tokenizer, "llama_untied")
    head, numbers = model.get_output_embeddings().weight, torch.Generator().manual_seed(seed)
    with torch.no_grad():
        scales = {tokenizer.convert_tokens_to_ids("[RQ]"): query_scale, tokenizer.eos_token_id: end_scale}
        for token, scale in scales.items():
            head[token] = scale * 0.2 * torch.randn(head.shape[1], generator=numbers)
    index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    return pipeline("onegen-rag", model=model, tokenizer=tokenizer, index=index)


def projected_pipeline(tokenizer: Any, dim: int = 12) -> Any:
    """[`asking_pipeline`] whose embeddings are projected, at random."""
    model = tiny_model(tokenizer, "llama_untied", onegen_config=OneGenConfig(projection_dim=dim))
    with torch.no_grad():
        model.retrieval_projection.weight.normal_(generator=torch.Generator().manual_seed(1))
    return asking_pipeline(tokenizer, model=model)


def pipeline_that_searches_by_words(tokenizer: Any) -> Any:
    """[`asking_pipeline`] whose checkpoint says that only words count, and whose index has them."""
    model = tiny_model(tokenizer, "llama_untied", onegen_config=OneGenConfig(hybrid=1.0, fusion="weighted"))
    return asking_pipeline(tokenizer, model=model)


def scheduler_for(rag: Any, observer: Any = None, **limits: Any) -> Scheduler:
    """Not yet started."""
    settings = ServingLimits(**limits)
    return Scheduler(TransformersServingEngine(rag, settings, "tiny"), settings, observer)


class Deliveries:
    """Collects what a request receives."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.arrived = threading.Condition()

    def __call__(self, what: Any) -> None:
        with self.arrived:
            self.all.append(what)
            self.arrived.notify_all()

    @property
    def ended(self) -> bool:
        """Whether the last of a request has come."""
        return bool(self.all) and (isinstance(self.all[-1], Refusal) or self.all[-1].type == "done")

    def wait(self, seconds: float = 60.0) -> Any:
        """The last of a request: its [`DoneEvent`], or a refusal."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.ended, seconds), "nothing came"
        return self.all[-1]

    def first(self, seconds: float = 60.0) -> Any:
        """The first event."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.all, seconds), "nothing came"
        return self.all[0]


def submit(scheduler: Scheduler, question: Any, **settings: Any) -> Deliveries:
    """A request on its way."""
    deliveries = Deliveries()
    deliveries.ticket = scheduler.submit(GenerationRequest(question, **settings), deliveries)  # type: ignore
    return deliveries


def alone(rag: Any, request: GenerationRequest) -> dict[str, Any]:
    """What the pipeline answers."""
    if request.seed is not None:
        torch.manual_seed(request.seed)
    return rag(
        request.question,
        k=request.k,
        max_hops=request.max_hops,
        retrieval=request.retrieval,
        threshold=request.threshold,
        filter=request.filter,
        critique=request.critique,
        **request.sampling_options(),
    )


CONFIDENCES = ("confidence", "retrieval_confidence", "answer_confidence")


def assert_same_result(result: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Two results with all the same, but for the last digits of scores and probabilities."""
    assert _without_scores(result) == _without_scores(expected)
    assert _scores(result) == pytest.approx(_scores(expected), abs=1e-4)
    for name in CONFIDENCES:
        assert result[name] == (None if expected[name] is None else pytest.approx(expected[name], abs=1e-4))


def _passages(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [passage for retrieval in result["retrievals"] for passage in retrieval["passages"]]


def _scores(result: Mapping[str, Any]) -> list[float]:
    return [passage["score"] for passage in _passages(result)]


def _without_scores(result: Mapping[str, Any]) -> dict[str, Any]:
    plain = copy.deepcopy(dict(result))
    for name in CONFIDENCES:
        plain.pop(name, None)
    for passage in _passages(plain):
        del passage["score"]  # type: ignore[attr-defined]
    return plain
