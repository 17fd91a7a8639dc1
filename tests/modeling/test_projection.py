"""A projection of the embeddings: what it computes, how it is trained, saved and loaded, what is refused."""

from __future__ import annotations

import copy
import dataclasses
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model
from support.training_setup import assert_same_weights, trainer_for, weights
from transformers import AutoModelForCausalLM

from onegen_hf import OneGenConfig, OneGenForCausalLM, PassageIndex
from onegen_hf.hub.layout import MODEL_FILES, PROJECTION_FILE
from onegen_hf.modeling.embed import embed_rows
from onegen_hf.modeling.int8 import quantize_for_cpu
from onegen_hf.modeling.projection import embedding_size
from onegen_hf.modeling.tiny_twin import tiny_twin

ROWS = [[5, 6, 7, 400], [8, 400], [9, 10, 11, 12, 13, 400]]
HIDDEN, DIM = 32, 12


@pytest.fixture
def tokenizer(base_tokenizer: Any) -> Any:
    return copy.deepcopy(base_tokenizer)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    """A tiny model with a random projection to 12 dimensions."""
    made = tiny_model(tokenizer, onegen_config=OneGenConfig(projection_dim=DIM, max_inserted_tokens=40))
    with torch.no_grad():
        made.retrieval_projection.weight.normal_(generator=torch.Generator().manual_seed(0))
    return made


def states(model: Any) -> torch.Tensor:
    """The hidden states at the last tokens of the rows, by a plain forward of each alone: `(3, hidden)`."""
    with torch.no_grad():
        return torch.stack(
            [model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0, -1] for row in ROWS]
        )


def embeddings(model: Any) -> torch.Tensor:
    """The embeddings at the last tokens of the rows: `(3, dim)`."""
    with torch.no_grad():
        return embed_rows(model, ROWS, [[len(row) - 1] for row in ROWS], 0)


def test_an_embedding_is_the_projected_state(model: Any) -> None:
    expected = states(model) @ model.retrieval_projection.weight.T
    assert embedding_size(model) == DIM
    torch.testing.assert_close(embeddings(model), expected, rtol=1e-4, atol=1e-5)
    ids = torch.tensor([ROWS[2], ROWS[0] + [0, 0]])
    with torch.no_grad():
        output = model(ids, retrieval_positions=torch.tensor([[5, -1], [1, 3]]))
    assert output.retrieval_embeddings.shape == (2, 2, DIM)
    torch.testing.assert_close(output.retrieval_embeddings[0, 0], expected[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.retrieval_embeddings[1, 1], expected[0], rtol=1e-4, atol=1e-5)
    assert not output.retrieval_embeddings[0, 1].any()  # padding


def test_a_new_projection_keeps_the_first_numbers_of_a_state(tokenizer: Any) -> None:
    model = tiny_model(tokenizer, onegen_config=OneGenConfig(projection_dim=DIM))
    torch.testing.assert_close(embeddings(model), states(model)[:, :DIM], rtol=1e-4, atol=1e-5)
    model.set_onegen_config(dataclasses.replace(model.onegen_config, projection_dim=None))
    assert embedding_size(model) == HIDDEN
    torch.testing.assert_close(embeddings(model), states(model), rtol=1e-4, atol=1e-5)


def test_shortening_keeps_the_first_rows(model: Any) -> None:
    before = model.retrieval_projection.weight.detach().clone()
    model.set_onegen_config(dataclasses.replace(model.onegen_config, projection_dim=5))
    assert torch.equal(model.retrieval_projection.weight, before[:5])


@pytest.mark.parametrize("dim", [HIDDEN + 1, DIM + 1])
def test_longer_embeddings_are_refused(dim: int, model: Any, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=rf"projection_dim={dim} is more than"):
        model.set_onegen_config(dataclasses.replace(model.onegen_config, projection_dim=dim))
    assert embedding_size(model) == DIM and model.onegen_config.projection_dim == DIM


def test_the_projection_counts_in_float32_in_a_model_of_bfloat16(model: Any) -> None:
    model.to(torch.bfloat16)
    weight = model.retrieval_projection.weight
    found = embeddings(model)
    assert found.dtype == weight.dtype == torch.bfloat16
    ids, mask = torch.tensor([ROWS[2]]), torch.ones(1, 6, dtype=torch.int64)
    with torch.no_grad():
        state = model(ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1][0, -1]
        expected = (state.float() @ weight.float().T).bfloat16()
        torch.testing.assert_close(model.embed(ids, mask, torch.tensor([[5]]))[0, 0], expected)


@pytest.mark.parametrize("max_shard_size", ["50GB", "20KB"])
def test_other_libraries_find_the_plain_backbone(max_shard_size: str, model: Any, tmp_path: Path, caplog: Any) -> None:
    model.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert model.retrieval_projection is not None  # saving leaves the model as it was
    names = {name for file in tmp_path.glob("*.safetensors") for name in load_file(file)}
    assert names and not any("projection" in name for name in names)
    with caplog.at_level(logging.WARNING):
        plain, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(plain).__name__ == "LlamaForCausalLM"
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    with torch.no_grad():
        torch.testing.assert_close(plain(torch.tensor([ROWS[2]])).logits, model(torch.tensor([ROWS[2]])).logits)


@pytest.mark.parametrize("way", ["from_pretrained", "own class", "sharded state dict"])
def test_saved_and_loaded(way: str, model: Any, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.save_pretrained(tmp_path, **({"state_dict": state} if way == "sharded state dict" else {}))
    assert (tmp_path / PROJECTION_FILE).is_file() and PROJECTION_FILE in MODEL_FILES
    loader = type(model) if way == "own class" else OneGenForCausalLM
    loaded = loader.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded.retrieval_projection.weight, model.retrieval_projection.weight)
    torch.testing.assert_close(embeddings(loaded), embeddings(model))
    half = OneGenForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.retrieval_projection.weight.dtype == torch.bfloat16


def test_saving_over_a_checkpoint_with_a_projection_removes_it(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    model.set_onegen_config(dataclasses.replace(model.onegen_config, projection_dim=None))
    model.save_pretrained(tmp_path)
    assert not (tmp_path / PROJECTION_FILE).exists()
    assert OneGenForCausalLM.from_pretrained(tmp_path).retrieval_projection is None


def test_faults_of_the_file(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / PROJECTION_FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=f"projection_dim={DIM}.*no {PROJECTION_FILE} that can be read"):
        OneGenForCausalLM.from_pretrained(tmp_path)
    file.unlink()
    with pytest.raises(OSError, match="copy or download the checkpoint again"):
        OneGenForCausalLM.from_pretrained(tmp_path)
    save_file({"weight": torch.ones(DIM, HIDDEN - 1)}, file)
    with pytest.raises(ValueError, match=r"has the shape \(12, 31\).*need \(12, 32\)"):
        OneGenForCausalLM.from_pretrained(tmp_path)
    save_file({"weight": torch.full((DIM, HIDDEN), float("nan"))}, file)
    with pytest.raises(ValueError, match="NaN"):
        OneGenForCausalLM.from_pretrained(tmp_path)


def test_an_index_has_its_dimensions(model: Any, tokenizer: Any) -> None:
    index = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    assert index.dimension == DIM
    with pytest.raises(ValueError, match=str(HIDDEN)):
        PassageIndex.from_embeddings(torch.randn(len(DOCUMENTS), HIDDEN), DOCUMENTS, model, tokenizer, num_checked=0)
    other = tiny_model(copy.deepcopy(tokenizer), onegen_config=OneGenConfig(max_inserted_tokens=40))
    with pytest.raises(ValueError, match="hidden_size 12 against 32|hidden_size 32 against 12"):
        index.check_model(other, tokenizer)


def test_neither_twin_nor_quantisation_takes_it_for_a_layer(model: Any) -> None:
    assert tiny_twin(model) is not None
    before = model.retrieval_projection.weight.detach().clone()
    quantised = quantize_for_cpu(copy.deepcopy(model))
    assert torch.equal(quantised.retrieval_projection.weight, before)


@pytest.mark.parametrize("peft", [False, True])
def test_it_is_trained_saved_and_resumed(peft: bool, base_tokenizer: Any, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = dict(
        max_steps=4, per_device_train_batch_size=4, train_sampling_strategy="random", optim="adamw_torch",
        learning_rate=1e-2, save_strategy="steps", save_steps=2,
    )  # fmt: skip

    def trainer(name: str) -> Any:
        tokenizer = copy.deepcopy(base_tokenizer)
        model = tiny_model(tokenizer, onegen_config=OneGenConfig(projection_dim=DIM, max_inserted_tokens=40), seed=1)
        model.save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        model.name_or_path = str(tmp_path / "base")
        config = LoraConfig(r=2, target_modules="all-linear") if peft else None
        return trainer_for(tokenizer, tmp_path / name, model=model, peft_config=config, **kwargs)

    whole = trainer("whole")
    whole.train()
    projection = _projection(whole.model)
    assert (projection - torch.eye(DIM, HIDDEN)).abs().max() > 1e-3
    whole.save_model(str(tmp_path / "saved"))
    loaded = OneGenForCausalLM.from_pretrained(tmp_path / "saved").eval()
    assert torch.equal(loaded.retrieval_projection.weight, projection)
    whole.model.eval()
    torch.testing.assert_close(embeddings(loaded), embeddings(_base(whole.model)), rtol=1e-4, atol=1e-5)

    resumed = trainer("resumed")
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed.train(resume_from_checkpoint=str(tmp_path / "resumed" / "checkpoint-2"))
    assert_same_weights(weights(resumed.model), weights(whole.model), atol=1e-7)


def _base(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _projection(model: Any) -> torch.Tensor:
    return _base(model).retrieval_projection.weight.detach()
