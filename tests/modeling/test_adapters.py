"""LoRA: what is trained, what is saved, what comes back."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from support.sample_corpus import DOCUMENTS, EXAMPLES
from support.tiny_models import ARCHITECTURES, VOCAB_SIZE, tiny_backbone, tiny_model
from support.training_setup import PLAIN_SGD, dataset

from onegen_hf import (
    OneGenConfig,
    OneGenForCausalLM,
    OneGenTrainer,
    OneGenTrainingArguments,
    PassageIndex,
)
from onegen_hf.modeling import adapters
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.backbones import SMOLLM2, load_backbone
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.training.adapter import add_adapter


def lora(**kwargs: Any) -> LoraConfig:
    """Rank 2 on the attention."""
    return LoraConfig(**{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], **kwargs})


def matrices(model: Any) -> dict[str, torch.Tensor]:
    """Input embeddings and head, with what the adapter does to them merged in."""
    merged = copy.deepcopy(model).merge_and_unload()
    return {
        "input": merged.get_input_embeddings().weight.detach(),
        "head": merged.get_output_embeddings().weight.detach(),
    }


@pytest.fixture(scope="module", params=["llama_tied", "llama_untied"])
def trained_once(request: Any, base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A LoRA run of a few steps over a backbone on disk, saved by the trainer; not to be changed."""
    tmp_path = tmp_path_factory.mktemp(request.param)
    tiny_backbone(request.param).save_pretrained(tmp_path / "base")
    tokenizer = copy.deepcopy(base_tokenizer)
    settings = OneGenConfig(scale=10.0, max_inserted_tokens=50)
    model = OneGenForCausalLM.from_backbone(str(tmp_path / "base"), tokenizer, onegen_config=settings)
    model.config.pad_token_id = tokenizer.pad_token_id
    before = {
        "input": model.get_input_embeddings().weight.detach().clone(),
        "head": model.get_output_embeddings().weight.detach().clone(),
    }
    kwargs = {**PLAIN_SGD, "max_steps": 3, "per_device_train_batch_size": 4, "optim": "adamw_torch"}
    args = OneGenTrainingArguments(str(tmp_path / "run"), **{**kwargs, "learning_rate": 0.01})
    trainer = OneGenTrainer(
        model, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer, peft_config=lora()
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    return {"trainer": trainer, "before": before, "path": tmp_path, "settings": settings}


@pytest.fixture
def trained(trained_once: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """It, with a copy of what was saved."""
    shutil.copytree(trained_once["path"] / "adapter", tmp_path / "adapter")
    return {**trained_once, "path": tmp_path}


def test_only_the_rows_of_the_tokens_change(trained: dict[str, Any]) -> None:
    after = matrices(trained["trainer"].model)
    for name, before in trained["before"].items():
        changed = (after[name] != before).any(dim=1).nonzero()[:, 0].tolist()
        # [RQ] is generated and read, [RD] and the tags are read; the head learns to give [RQ] and to give no other.
        assert changed == [VOCAB_SIZE, VOCAB_SIZE + 1, VOCAB_SIZE + 2, VOCAB_SIZE + 3], name


def test_adapter_is_small_and_complete(trained: dict[str, Any]) -> None:
    files = {path.name for path in (trained["path"] / "adapter").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "config.json", "tokenizer.json"} <= files
    assert "README.md" not in files  # PEFT would leave an empty form
    state = load_file(trained["path"] / "adapter" / "adapter_model.safetensors")
    assert max(value.shape[0] for value in state.values()) < VOCAB_SIZE  # no embedding matrix
    rows = [value for name, value in state.items() if "trainable_tokens" in name]
    assert rows and all(value.shape == (4, 32) for value in rows)
    assert not list((trained["path"] / "adapter").glob("*.bin"))


@pytest.mark.parametrize("way", ["merged", "adapter", "from_pretrained"])
def test_loaded_adapter_gives_the_same_outputs(way: str, trained: dict[str, Any]) -> None:
    directory = trained["path"] / "adapter"
    trainer = trained["trainer"]
    loaded = {
        "merged": lambda: load_adapter(directory),
        "adapter": lambda: load_adapter(directory, merge=False),
        "from_pretrained": lambda: OneGenForCausalLM.from_pretrained(directory),
    }[way]().eval()
    assert isinstance(loaded, PeftModel if way == "adapter" else OneGenForCausalLM)
    base = loaded.get_base_model() if way == "adapter" else loaded
    assert base.onegen_config == trained["settings"]
    base.set_loss()
    trainer.model.get_base_model().set_loss()
    batch = trainer.data_collator(EXAMPLES)
    with torch.no_grad():
        expected, found = trainer.model.eval()(**batch), loaded(**batch)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.retrieval_embeddings, expected.retrieval_embeddings, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.passage_embeddings, expected.passage_embeddings, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-4, atol=1e-5)


def test_merged_adapter_is_a_plain_checkpoint(trained: dict[str, Any]) -> None:
    merged = load_adapter(trained["path"] / "adapter")
    merged.save_pretrained(trained["path"] / "merged")
    again = OneGenForCausalLM.from_pretrained(trained["path"] / "merged")
    assert again.onegen_config == trained["settings"]
    ids = torch.tensor([[5, 6, 400, 402]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, merged.eval()(ids).logits)


def test_stored_in_half_precision(trained: dict[str, Any]) -> None:
    trainer, directory = trained["trainer"], trained["path"] / "half"
    save_adapter(trainer.model, trainer.processing_class, directory, dtype=torch.bfloat16)
    state = load_file(directory / "adapter_model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    full = load_file(trained["path"] / "adapter" / "adapter_model.safetensors")
    assert state.keys() == full.keys()
    for name, value in state.items():
        torch.testing.assert_close(value.float(), full[name], rtol=1e-2, atol=1e-2)


def test_resuming_a_lora_run(base_tokenizer: Any, tmp_path: Path) -> None:
    tiny_backbone().save_pretrained(tmp_path / "base")

    def run(name: str, checkpoint: str | None = None) -> Any:
        tokenizer = copy.deepcopy(base_tokenizer)
        model = OneGenForCausalLM.from_backbone(str(tmp_path / "base"), tokenizer)
        kwargs = {**PLAIN_SGD, "max_steps": 4, "per_device_train_batch_size": 4, "optim": "adamw_torch"}
        args = OneGenTrainingArguments(
            str(tmp_path / name), **{**kwargs, "learning_rate": 0.01, "save_strategy": "steps", "save_steps": 2}
        )
        trainer = OneGenTrainer(
            model, args, dataset(), documents=DOCUMENTS, processing_class=tokenizer, peft_config=lora()
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        return matrices(trainer.model), trainer.model.state_dict()

    whole = run("whole")
    resumed = run("resumed", str(tmp_path / "whole" / "checkpoint-2"))
    for name, value in whole[1].items():
        torch.testing.assert_close(resumed[1][name], value, rtol=1e-5, atol=1e-6, msg=lambda t, n=name: f"{n}: {t}")
    torch.testing.assert_close(resumed[0], whole[0], rtol=1e-5, atol=1e-6)


def test_own_choice_of_trainable_tokens_is_kept(model: Any, tokenizer: Any) -> None:
    config = lora(trainable_token_indices=[VOCAB_SIZE])
    wrapped = add_adapter(model, tokenizer, config)
    assert wrapped.peft_config["default"].trainable_token_indices == [VOCAB_SIZE]


def test_a_head_that_the_adapter_covers_is_left_to_it(base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, "llama_untied")
    wrapped = add_adapter(model, tokenizer, lora(target_modules=["q_proj", "lm_head"]))
    assert wrapped.peft_config["default"].trainable_token_indices == [400, 401, 402, 403]
    assert wrapped(torch.tensor([[5, 400]]), retrieval_positions=[[1]]).retrieval_embeddings.requires_grad


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "gpt2"])
def test_every_architecture_takes_an_adapter(architecture: str, base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer, architecture)
    with torch.no_grad():
        expected = model(torch.tensor([[5, 400, 7]]), retrieval_positions=[[1]])
    target = "qkv_proj" if architecture == "phi3" else "q_proj"
    wrapped = add_adapter(model, tokenizer, lora(target_modules=[target]))
    found = wrapped(torch.tensor([[5, 400, 7]]), retrieval_positions=[[1]])
    torch.testing.assert_close(found.logits, expected.logits)
    (found.retrieval_embeddings.sum() + found.logits.sum()).backward()
    deltas = [p for name, p in wrapped.named_parameters() if "trainable_tokens" in name and p.requires_grad]
    assert len({p.data_ptr() for p in deltas}) == (1 if model.config.tie_word_embeddings else 2)
    assert all(p.grad is not None and p.grad.any() for p in deltas)


def test_a_folder_that_is_no_adapter_of_ours(trained: dict[str, Any]) -> None:
    directory = trained["path"] / "adapter"
    path = directory / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "onegen"}))
    with pytest.raises(ValueError, match="has no 'onegen' section: the adapter was not saved by `save_adapter`"):
        load_adapter(directory)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="has an adapter but no config.json: it was not saved by"):
        load_adapter(directory)


def test_the_saved_config_describes_the_backbone(trained: dict[str, Any]) -> None:
    content = json.loads((trained["path"] / "adapter" / "config.json").read_text())
    assert OneGenConfig.from_dict(content["onegen"]) == trained["settings"]
    assert content["architectures"] == ["LlamaForCausalLM"]
    assert "auto_map" not in content


@pytest.mark.parametrize("packaged", [True, False])
def test_a_base_close_to_the_right_one_warns_where_another_is_refused(
    packaged: bool, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The built-in adapter belongs to quantised weights; the Hub's are close to them."""
    directory = trained["path"] / "adapter"
    path = directory / "adapter_config.json"
    base = json.loads(path.read_text())["base_model_name_or_path"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": SMOLLM2}))
    monkeypatch.setattr(adapters, "packaged_smollm2", lambda: Path("weights.gguf") if packaged else None)

    def load(name: str, tokenizer: bool) -> Any:
        assert name == SMOLLM2
        return load_backbone(base, tokenizer=tokenizer)

    monkeypatch.setattr(adapters, "load_backbone", load)
    tokenizer = load_tokenizer(directory)
    index = PassageIndex.build(load_adapter(directory), tokenizer, DOCUMENTS, show_progress=False)
    model = load_adapter(directory)
    index.check_model(model, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    if packaged:
        with pytest.raises(ValueError, match="made by another model"):
            index.check_model(model, tokenizer)
    else:
        with pytest.warns(UserWarning, match="close to, but not, those of the index"):
            index.check_model(model, tokenizer)
        model.onegen_config.max_embedded_tokens = 7
        with pytest.raises(ValueError, match="max_embedded_tokens"):
            index.check_model(model, tokenizer)
