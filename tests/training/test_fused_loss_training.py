"""Trainings whose language-model loss is computed without logits make the same steps."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from support.stand_in_kernels import plain_cross_entropy
from support.training_setup import assert_same_weights, dataset, trainer_for, weights

from onegen_hf.importing import extras
from onegen_hf.modeling import fused_loss
from onegen_hf.training import fused_loss as setting

SETTINGS: dict[str, dict[str, Any]] = {
    "full": {},
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "gradient caching": {"contrastive_chunk_size": 1},
    "untied": {"architecture": "llama_untied"},
}


def lora(*targets: str) -> LoraConfig:
    return LoraConfig(r=2, target_modules=list(targets))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Liger is installed and runs on CPUs, as far as the trainer can see; the number of targets of each call."""
    calls: list[int] = []

    def kernel(softcap: float | None) -> Any:
        plain = plain_cross_entropy(softcap)

        def counting(weight: Any, states: Any, targets: Any, bias: Any) -> Any:
            calls.append(targets.numel())
            return plain(weight, states, targets, bias)

        return counting

    monkeypatch.setattr(fused_loss, "liger_kernel", kernel)
    monkeypatch.setattr(setting, "require", lambda *args: None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    return calls


@pytest.mark.parametrize("case", [*SETTINGS, "adapter"])
def test_the_step_is_that_of_the_loss_with_logits(
    base_tokenizer: Any, tmp_path: Path, case: str, stand_in: list[int]
) -> None:
    trained = []
    for fused in (False, True):
        settings = dict(SETTINGS.get(case) or {})
        if case == "adapter":
            settings["peft_config"] = lora("q_proj")
        trainer = trainer_for(base_tokenizer, tmp_path / str(fused), fused_cross_entropy=fused, **settings)
        trainer.train()
        trained.append(weights(trainer.model))
        assert bool(stand_in) == fused
    assert_same_weights(trained[1], trained[0])


def test_evaluation(base_tokenizer: Any, tmp_path: Path, stand_in: list[int]) -> None:
    found = [
        trainer_for(
            base_tokenizer, tmp_path / str(fused), fused_cross_entropy=fused, eval_dataset=dataset()
        ).evaluate()["eval_loss_gen"]
        for fused in (False, True)
    ]
    assert found[0] == found[1] and not stand_in


def test_an_adapter_on_the_head_keeps_its_logits(
    base_tokenizer: Any, tmp_path: Path, stand_in: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="onegen_hf"):
        trainer = trainer_for(
            base_tokenizer, tmp_path, range(8), "llama_untied",
            fused_cross_entropy=True, peft_config=lora("q_proj", "lm_head"),
        )  # fmt: skip
    assert "fused_cross_entropy=True has no effect" in caplog.text
    trainer.train()
    assert not stand_in


def test_without_a_gpu(base_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting, "require", lambda *args: None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match="fused_cross_entropy=True runs kernels of Triton, which need a GPU"):
        trainer_for(base_tokenizer, tmp_path, fused_cross_entropy=True)


def test_without_liger(base_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_package_available", lambda package: package != "liger_kernel")
    with pytest.raises(ImportError, match=r"onegen-hf\[liger\]"):
        trainer_for(base_tokenizer, tmp_path, fused_cross_entropy=True)
