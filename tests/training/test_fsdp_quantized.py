"""FSDP2 over two processes trains an adapter on a base of 4 bits: QLoRA, sharded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.sample_corpus import build_tokenizer
from support.sharded_training import NUMBERS, allow_sharding_on_cpus, whole, with_fsdp
from support.tiny_models import quantizable_backbone
from support.training_setup import assert_same_weights, trainer_for
from trl import ModelConfig

from onegen_hf import OneGenForCausalLM
from onegen_hf.training.run import FormatArguments, load_for_training

pytest.importorskip("bitsandbytes", reason="the extra `quantization` is not installed")
pytestmark = pytest.mark.xdist_group("two processes")

SHARDED = {"load_in_4bit": True, "bnb_4bit_quant_storage": "float32"}
WHOLE = {"load_in_4bit": True}
SAVING: dict[str, Any] = {
    "max_steps": 3, "save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "num_hard_negatives": 1,
}  # fmt: skip


def make(directory: Path, base: str, quantisation: dict[str, Any], size: int, **settings: Any) -> Any:
    torch.manual_seed(0)
    options = ModelConfig(
        base, use_peft=True, lora_r=2, lora_dropout=0.0, lora_target_modules=["q_proj", "v_proj"], **quantisation
    )
    model, tokenizer, adapter = load_for_training(options, FormatArguments())
    return trainer_for(
        tokenizer, directory, NUMBERS[:4], model=model, peft_config=adapter, per_device_train_batch_size=size,
        **settings,
    )  # fmt: skip


def trained(trainer: Any) -> dict[str, torch.Tensor]:
    parameters = trainer.model_wrapped.named_parameters()
    return {name: whole(parameter) for name, parameter in parameters if parameter.requires_grad}


def train_all(rank: int, base: str, directory: str) -> dict[str, Any]:
    """Steps with both kinds of storage, then a training that saves, evaluates, and is taken up again."""
    allow_sharding_on_cpus()
    folder, found = Path(directory), {}
    for name, quantisation in (("sharded", SHARDED), ("whole", WHOLE)):
        trainer = make(folder / f"{name}-{rank}", base, quantisation, 2, **with_fsdp())
        trainer.train()
        weight = trainer.model_wrapped.base_model.model.model.layers[0].mlp.up_proj.weight
        found[name] = {"weights": trained(trainer), "bytes": weight_bytes(weight)}
    with pytest.raises(ValueError, match="load_in_8bit"):
        make(folder / f"8-{rank}", base, {"load_in_8bit": True}, 2, **with_fsdp())
    trainer = make(folder / "run", base, SHARDED, 2, **SAVING, **with_fsdp())
    trainer.train()
    metrics = trainer.evaluate(trainer.train_dataset)
    trainer.save_model()
    found["run"] = {"weights": trained(trainer), "mrr": metrics["eval_mrr"]}
    trainer = make(folder / "run", base, SHARDED, 2, **SAVING, **with_fsdp())
    trainer.train(resume_from_checkpoint=str(folder / "run" / "checkpoint-2"))
    found["resumed"] = trained(trainer)
    return found


def weight_bytes(weight: torch.Tensor) -> int:
    """Of the part that this process holds."""
    part = weight.to_local() if hasattr(weight, "to_local") else weight
    return part.numel() * part.element_size()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, list[dict[str, Any]]]:
    from support.two_processes import run_together

    directory = tmp_path_factory.mktemp("quantised")
    base = str(directory / "base")
    quantizable_backbone().save_pretrained(base)
    build_tokenizer().save_pretrained(base)
    return base, directory, run_together(train_all, directory / "store", base, str(directory))


@pytest.mark.parametrize("kind", ["sharded", "whole"])
def test_two_processes_equal_one(kind: str, made: Any, tmp_path: Path) -> None:
    base, _, found = made
    trainer = make(tmp_path, base, SHARDED if kind == "sharded" else WHOLE, 4)
    trainer.train()
    for part in found:
        assert_same_weights(part[kind]["weights"], trained(trainer), atol=1e-6)


def test_bytes_are_not_sharded_but_floats_are(made: Any) -> None:
    _, _, found = made
    size = 64 * 64 // 2  # two weights in a byte
    assert [part["whole"]["bytes"] for part in found] == [size, size]
    assert [part["sharded"]["bytes"] for part in found] == [size // 2, size // 2]


def test_it_is_saved_and_goes_on(made: Any) -> None:
    _, directory, found = made
    assert_same_weights(found[0]["resumed"], found[0]["run"]["weights"], atol=1e-6)
    assert 0 <= found[0]["run"]["mrr"] <= 1
    saved = load_file(directory / "run" / "adapter_model.safetensors")
    expected = {name.replace(".default", ""): value for name, value in found[0]["run"]["weights"].items()}
    assert len(saved) == 2 * 2 * 2 + 1
    for name, value in saved.items():
        torch.testing.assert_close(value.float(), expected[name], msg=name)
    OneGenForCausalLM.from_pretrained(directory / "run")
