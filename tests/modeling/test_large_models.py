"""Models that do not fit: weights on a disk, and layers split over processes, give the results of one piece."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import tiny_model
from transformers import pipeline

from onegen_hf import OneGenDataCollator, OneGenForCausalLM, PassageIndex

PLACES: dict[str, dict[str, str]] = {
    "a layer": {"model.layers.1": "disk"},
    "embeddings and head": {"model.embed_tokens": "disk", "lm_head": "disk"},
    "everything but the norm": {"model.embed_tokens": "disk", "model.layers": "disk", "lm_head": "disk"},
}
ELSEWHERE = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")


def device_map(places: dict[str, str]) -> dict[str, str]:
    """A place for each module: that of `places`, else the CPU."""
    return {
        name: next((where for part, where in places.items() if name.startswith(part)), "cpu") for name in ELSEWHERE
    }


@pytest.fixture
def saved(base_tokenizer: Any, tmp_path: Path) -> Any:
    """A model, its tokenizer and its folder."""
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "llama_untied")
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return model, tokenizer, tmp_path / "model"


@pytest.mark.parametrize("places", PLACES)
def test_weights_on_a_disk(places: str, saved: Any, tmp_path: Path) -> None:
    model, tokenizer, folder = saved
    offloaded = OneGenForCausalLM.from_pretrained(
        folder, device_map=device_map(PLACES[places]), offload_folder=str(tmp_path / "offload")
    ).eval()
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    batch = OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:3])
    with torch.no_grad():
        found, expected = offloaded(**batch), model(**batch)
    for name in ("loss", "logits", "retrieval_embeddings", "passage_embeddings"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)
    index, reference = (
        PassageIndex.build(each, tokenizer, DOCUMENTS, show_progress=False) for each in (offloaded, model)
    )
    answers = [
        pipeline("onegen-rag", model=each, tokenizer=tokenizer, index=built)(
            ["Who made Tin Boat?", "Where is it?"], max_new_tokens=8, max_hops=1, retrieval="always", batch_size=2
        )
        for each, built in ((offloaded, index), (model, reference))
    ]
    assert [answer["text"] for answer in answers[0]] == [answer["text"] for answer in answers[1]]


def test_an_automatic_map(saved: Any, tmp_path: Path) -> None:
    model, _, folder = saved
    automatic = OneGenForCausalLM.from_pretrained(
        folder, device_map="auto", max_memory={"cpu": "60KB"}, offload_folder=str(tmp_path / "offload")
    ).eval()
    assert set(automatic.hf_device_map.values()) & {"disk"}
    ids = torch.tensor([[5, 9, 17, 30]])
    with torch.no_grad():
        torch.testing.assert_close(automatic(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)


def split_over_processes(rank: int, folder: str) -> dict[str, Any]:
    """Forward and embeddings of a model whose layers are split over two processes."""
    model = OneGenForCausalLM.from_pretrained(folder, tp_plan="auto").eval()
    weight = model.model.layers[0].mlp.up_proj.weight
    batch = OneGenDataCollator(build_tokenizer_of(folder), DOCUMENTS)(EXAMPLES[:3])
    with torch.no_grad():
        output = model(**batch)
    names = ("logits", "retrieval_embeddings", "passage_embeddings")
    local = weight.to_local() if hasattr(weight, "to_local") else weight
    return {"rows": local.shape[0], **{name: getattr(output, name).float() for name in names}}


def build_tokenizer_of(folder: str) -> Any:
    from onegen_hf.modeling.tokenizers import load_tokenizer

    return load_tokenizer(folder)


@pytest.mark.xdist_group("two processes")
def test_layers_split_over_processes(saved: Any, tmp_path: Path) -> None:
    from support.two_processes import run_together

    model, tokenizer, folder = saved
    with torch.no_grad():
        expected = model(**OneGenDataCollator(tokenizer, DOCUMENTS)(EXAMPLES[:3]))
    for found in run_together(split_over_processes, tmp_path / "store", str(folder)):
        assert found["rows"] == 24  # half of 48
        for name in ("logits", "retrieval_embeddings", "passage_embeddings"):
            torch.testing.assert_close(found[name], getattr(expected, name), rtol=1e-4, atol=1e-5)
