"""Training a variant, and loading what came out."""

from __future__ import annotations

import copy
import json
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor
from transformers import TrainerCallback

from onegen_hf import OneGenConfig, OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.files import atomic_folder
from onegen_hf.modeling.backbones import load_backbone
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.training.resuming import last_whole_checkpoint

from .data import StudyData
from .experts import upcycle
from .variant import Variant

OPTIONS: dict[str, Any] = {
    "learning_rate": 6e-4, "lr_scheduler_type": "cosine", "warmup_steps": 0.1,
    "weight_decay": 0.0, "num_hard_negatives": 1, "max_length": 640, "logging_steps": 1,
    "save_steps": 20, "save_total_limit": 1, "report_to": "none", "disable_tqdm": True, "bf16": False,
}  # fmt: skip
RANK = 32
FACTS = "trained.json"
"""Written last, beside the model."""
LAST_STEPS = 10
"""Over which the losses in the result are averaged."""


@dataclass(frozen=True)
class Setup:
    """
    What all runs of a study have in common.

    Args:
        backbone (`str`): Hub id or directory; a OneGen checkpoint brings its tokens and settings.
        dtype (`str`): Of the weights.
        device (`str`)
        examples (`int`): How many `base` sees.
        batch_size (`int`): Examples per step.
        embedded_tokens, inserted_tokens (`int`): Of a passage, for its embedding and for what is inserted.
    """

    backbone: str
    dtype: str
    device: str
    examples: int
    batch_size: int
    embedded_tokens: int
    inserted_tokens: int

    def untrained(self, variant: Variant, seed: int) -> tuple[Any, Any]:
        """The model that training starts from, and its tokenizer."""
        dense, tokenizer = load_backbone(self.backbone, dtype=self.dtype)
        own = upcycle(dense, variant.experts, seed) if variant.experts else dense
        settings = replace(
            OneGenConfig.of(dense.config) or OneGenConfig(), default_index=None,
            max_embedded_tokens=self.embedded_tokens, max_inserted_tokens=self.inserted_tokens,
        )  # fmt: skip
        model = OneGenForCausalLM.from_backbone(own, tokenizer, onegen_config=settings)
        return model.to(self.device), tokenizer

    def size(self, variant: Variant) -> dict[str, Any]:
        """What a training must agree in to be taken again."""
        return {
            "backbone": Path(self.backbone).name,
            "examples": round(self.examples * variant.examples),
            "examples_per_step": self.batch_size,
            "embedded_tokens": self.embedded_tokens,
            "inserted_tokens": self.inserted_tokens,
        }


def train_variant(
    variant: Variant,
    setup: Setup,
    data: StudyData,
    output_dir: Path,
    seed: int,
    callbacks: Sequence[TrainerCallback] = (),
) -> dict[str, Any]:
    """
    Train a variant, go on where that was interrupted, or read what a finished training left. The examples come in the
    same order in all runs of a seed.

    Args:
        variant ([`Variant`])
        setup ([`Setup`])
        data ([`StudyData`])
        output_dir (`Path`): Receives the model.
        seed (`int`): Of adapter, router and order.
        callbacks (`Sequence[TrainerCallback]`, *optional*): Watch the training.

    Returns:
        `dict[str, Any]`: Steps, minutes, trained parameters, and the mean losses of the last steps.

    Raises:
        ValueError: The folder holds a training of another size.
    """
    finished, size = output_dir / FACTS, setup.size(variant)
    if finished.is_file():
        return finished_training(finished, size)
    torch.manual_seed(seed)
    model, tokenizer = setup.untrained(variant, seed)
    if variant.frozen_passages:
        freeze_passages(model, copy.deepcopy(model), tokenizer)
    lora = LoraConfig(r=RANK, lora_alpha=RANK, lora_dropout=0.0, target_modules="all-linear")
    args = OneGenTrainingArguments(
        str(output_dir / "training"), **{**OPTIONS, **variant.options}, num_train_epochs=1, seed=seed,
        per_device_train_batch_size=setup.batch_size, use_cpu=setup.device == "cpu",
        tf32=None if setup.device == "cpu" else True,
    )  # fmt: skip
    seen = data.train.shuffle(seed=seed).select(range(size["examples"]))
    trainer = OneGenTrainer(
        model, args, seen, documents=data.store(), processing_class=tokenizer,
        peft_config=lora if variant.adapter else None, callbacks=list(callbacks),
    )  # fmt: skip
    last = last_whole_checkpoint(str(args.output_dir))
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=last)
    minutes = (time.perf_counter() - start) / 60
    trainer.save_model(str(output_dir))
    shutil.rmtree(args.output_dir, ignore_errors=True)
    logged = [entry for entry in trainer.state.log_history if "loss" in entry][-LAST_STEPS:]
    facts = {
        **size,
        "steps": trainer.state.global_step,
        "minutes": round(minutes, 2),
        "resumed": last is not None,
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        **{
            name: round(statistics.mean(entry[name] for entry in logged), 4)
            for name in ("loss_gen", "loss_ret", "retrieval_accuracy")
        },
    }
    finished.write_text(json.dumps(facts), encoding="utf-8")
    return facts


def finished_training(path: Path, size: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a finished training, which must have been of this [`Setup.size`]."""
    facts = dict(json.loads(path.read_text(encoding="utf-8")))
    others = [f"{name} {facts[name]}, not {asked}" for name, asked in size.items() if facts.get(name, asked) != asked]
    if others:
        raise ValueError(f"{path.parent} holds a training of another size ({'; '.join(others)}): name another --out")
    return facts


def merged_start(start: str, directory: Path) -> str:
    """
    A checkpoint to start from, as a directory that [`Setup`] takes as its backbone.

    Args:
        start (`str`): A OneGen model or adapter, Hub id or directory.
        directory (`Path`): Receives the merged model, unless it is there.
    """
    if not directory.is_dir():
        model = OneGenForCausalLM.from_pretrained(start, dtype="float32")
        tokenizer = load_tokenizer(start)
        with atomic_folder(directory) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    return str(directory)


def load_trained(variant: Variant, setup: Setup, path: Path, seed: int) -> tuple[Any, Any]:
    """The trained model with its adapter merged, and its tokenizer."""
    model = OneGenForCausalLM.from_pretrained(path, dtype=setup.dtype).to(setup.device).eval()
    tokenizer = load_tokenizer(path)
    if variant.frozen_passages:
        frozen, _ = setup.untrained(variant, seed)
        freeze_passages(model, frozen, tokenizer)
    return model, tokenizer


def freeze_passages(model: Any, frozen: Any, tokenizer: Any) -> None:
    """
    Let another model embed the passages of this one, here and wherever passages are encoded for it.

    Args:
        model ([`OneGenForCausalLM`]): Rows that end with its document token are passages.
        frozen ([`OneGenForCausalLM`]): Nothing flows back into it.
        tokenizer (`PreTrainedTokenizerBase`): Of both.
    """
    document = tokenizer.convert_tokens_to_ids(model.onegen_config.tokens.document)
    own = model.embed
    frozen.eval().requires_grad_(False)

    def embed(input_ids: Tensor, attention_mask: Tensor | None, retrieval_positions: Tensor, *rest: Any) -> Tensor:
        asked = input_ids.gather(1, retrieval_positions.clamp(min=0))[retrieval_positions >= 0]
        if not bool((asked == document).all()):
            return own(input_ids, attention_mask, retrieval_positions, *rest)
        with torch.no_grad():
            return frozen.embed(input_ids, attention_mask, retrieval_positions)

    model.__dict__["embed"] = embed
