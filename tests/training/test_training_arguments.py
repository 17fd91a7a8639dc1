"""Settings of a training run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from transformers import HfArgumentParser

from onegen_hf import OneGenTrainingArguments
from onegen_hf.losses import CONTRASTIVE_LOSSES


def make(tmp_path: Path, **kwargs: Any) -> OneGenTrainingArguments:
    """On the CPU, without reports."""
    return OneGenTrainingArguments(str(tmp_path), use_cpu=True, report_to=[], **kwargs)


def test_defaults(tmp_path: Path) -> None:
    args = make(tmp_path)
    assert args.loss_options() == {
        "name": "bpr", "lambda_gen": 1.0, "lambda_ret": 1.0, "matryoshka_dims": None, "lambda_distill": 1.0,
        "distill_temperature": 0.05, "negatives": "mean",
    }  # fmt: skip
    assert args.remove_unused_columns is False
    assert args.train_sampling_strategy == "group_by_length"
    assert args.eval_recall_at == [1, 5]


@pytest.mark.parametrize("name", CONTRASTIVE_LOSSES)
def test_loss_options_make_the_loss(name: str, tmp_path: Path) -> None:
    args = make(tmp_path, contrastive_loss=name, contrastive_scale=7.0, lambda_ret=0.5, bpr_negatives="sum")
    options = args.loss_options()
    assert (options.pop("name"), options.pop("lambda_gen"), options.pop("lambda_ret")) == (name, 1.0, 0.5)
    for name_of_joint in ("matryoshka_dims", "lambda_distill", "distill_temperature"):
        del options[name_of_joint]
    loss = CONTRASTIVE_LOSSES[name](**options)  # type: ignore[arg-type]
    assert loss.get_config_dict() == ({"scale": 7.0, "negatives": "sum"} if name == "bpr" else {"scale": 7.0})


def test_from_the_command_line(tmp_path: Path) -> None:
    line = ["--output_dir", str(tmp_path), "--use_cpu", "--report_to", "none", "--lambda_ret", "2", "--bpr_negatives",
            "sum", "--eval_recall_at", "1", "10", "--num_random_negatives", "3", "--matryoshka_dims", "64", "256",
            "--distill_from", "some/encoder", "--lambda_distill", "0.5", "--distill_temperature", "0.1"]  # fmt: skip
    (args,) = HfArgumentParser(OneGenTrainingArguments).parse_args_into_dataclasses(line)
    assert (args.lambda_ret, args.bpr_negatives, args.eval_recall_at) == (2.0, "sum", [1, 10])
    assert args.num_random_negatives == 3
    assert (args.matryoshka_dims, args.distill_from) == ([64, 256], "some/encoder")
    assert (args.lambda_distill, args.distill_temperature) == (0.5, 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_ret": -0.1}, "lambda_ret=-0.1 must be at least 0"),
        ({"lambda_gen": -1.0}, "lambda_gen=-1.0 must be at least 0"),
        ({"lambda_ret": math.nan}, "lambda_ret=nan must be a finite number"),
        ({"lambda_gen": math.inf}, "lambda_gen=inf must be a finite number"),
        ({"lambda_gen": 0.0, "lambda_ret": 0.0}, "leave nothing to learn"),
        ({"contrastive_loss": "triplet"}, "contrastive_loss='triplet' is unknown: choose one of 'bpr', 'info_nce'"),
        ({"contrastive_scale": math.inf}, "contrastive_scale=inf must be a finite number"),
        ({"contrastive_scale": 0}, "contrastive_scale=0 must be above 0"),
        ({"bpr_negatives": "max"}, "bpr_negatives='max' is unknown: choose one of 'mean', 'sum'"),
        ({"matryoshka_dims": [8, 0]}, r"matryoshka_dims\[1\]=0 must be at least 1"),
        ({"matryoshka_dims": [8, 8]}, r"matryoshka_dims=\[8, 8\] holds 8 more than once"),
        ({"matryoshka_dims": [1.5]}, r"matryoshka_dims\[0\]=1.5 must be an integer"),
        ({"matryoshka_dims": 8}, "matryoshka_dims=8 must be a list"),
        ({"distill_from": " "}, "distill_from=' ' is empty"),
        ({"distill_temperature": 0}, "distill_temperature=0 must be above 0"),
        ({"lambda_distill": -1}, "lambda_distill=-1 must be at least 0"),
        (
            {"lambda_gen": 0.0, "lambda_ret": 0.0, "lambda_distill": 0.0, "distill_from": "some/encoder"},
            "leave nothing to learn",
        ),
        ({"max_length": 1}, "max_length=1 must be at least 2"),
        ({"num_random_negatives": -1}, "num_random_negatives=-1 must be at least 0"),
        ({"eval_recall_at": [1, 0]}, r"eval_recall_at\[1\]=0 must be at least 1"),
        ({"eval_recall_at": []}, r"eval_recall_at=\[\] is empty"),
        ({"learning_rate": math.nan}, "learning_rate=nan must be a finite number"),
        ({"learning_rate": -1e-3}, "learning_rate=-0.001 must be at least 0"),
        ({"weight_decay": math.inf}, "weight_decay=inf must be a finite number"),
        ({"adam_epsilon": math.nan}, "adam_epsilon=nan must be a finite number"),
        ({"max_grad_norm": math.inf}, "max_grad_norm=inf must be a finite number"),
        ({"num_train_epochs": math.nan}, "num_train_epochs=nan must be a finite number"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1 is no part of the joint objective"),
        ({"accelerator_config": {"dispatch_batches": True}}, "dispatch_batches=True would cut the passages"),
        (
            {
                "use_liger_kernel": True,
                "liger_kernel_config": {"fused_linear_cross_entropy": True},
                "fused_cross_entropy": False,
            },
            "fused_cross_entropy=False contradicts fused_linear_cross_entropy=True",
        ),
    ],
)
def test_bad_settings(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(tmp_path, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_ret": "2"}, "lambda_ret='2' must be a number: leave out the quotes"),
        ({"lambda_ret": True}, "lambda_ret=True must be a number"),
        ({"num_hard_negatives": 1.5}, "num_hard_negatives=1.5 must be an integer"),
        ({"max_length": "64"}, "max_length='64' must be an integer: leave out the quotes"),
        ({"eval_recall_at": 5}, "eval_recall_at=5 must be a list, got int"),
        ({"overwrite_output_dir": "yes"}, "overwrite_output_dir='yes' must be True or False"),
    ],
)
def test_settings_of_another_type(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        make(tmp_path, **arguments)


def test_liger_kernels_leave_the_forward(tmp_path: Path) -> None:
    assert make(tmp_path).liger_kernel_config is None
    kernels = make(tmp_path, use_liger_kernel=True, liger_kernel_config={"swiglu": False}).liger_kernel_config
    assert kernels == {"swiglu": False, "fused_linear_cross_entropy": False}


@pytest.mark.parametrize(
    ("settings", "fused"),
    [
        ({}, None),
        ({"fused_cross_entropy": True}, True),
        ({"use_liger_kernel": True}, True),
        ({"use_liger_kernel": True, "fused_cross_entropy": False}, False),
        ({"use_liger_kernel": True, "liger_kernel_config": {"fused_linear_cross_entropy": True}}, True),
        ({"use_liger_kernel": True, "liger_kernel_config": {"fused_linear_cross_entropy": False}}, False),
    ],
    ids=lambda value: str(value),
)
def test_the_fused_loss_comes_with_ligers_kernels(tmp_path: Path, settings: Any, fused: bool | None) -> None:
    args = make(tmp_path, **settings)
    assert args.fused_cross_entropy is fused
    assert dataclasses.replace(args).fused_cross_entropy is fused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("per_device_train_batch_size", 0), ("per_device_eval_batch_size", "x"), ("gradient_accumulation_steps", 0),
        ("max_steps", 1.5), ("max_steps", -2), ("save_steps", 0), ("eval_steps", -1), ("logging_steps", 0),
        ("seed", "x"), ("seed", -1), ("data_seed", "x"), ("save_total_limit", 0), ("dataloader_num_workers", -1),
        ("adam_beta1", 1.0), ("adam_epsilon", -1), ("warmup_steps", -5), ("bf16", "maybe"), ("fp16", 1),
        ("optim", "adamm"), ("lr_scheduler_type", "zigzag"), ("hub_strategy", "some"), ("save_strategy", "never"),
        ("train_sampling_strategy", "x"), ("log_level", "loud"), ("ddp_backend", "smoke"), ("report_to", 5),
        ("greater_is_better", "yes"), ("learning_rate", "fast"), ("num_train_epochs", "3"), ("deepspeed", 5),
        ("resume_from_checkpoint", ""),
    ],
)  # fmt: skip
def test_fields_of_the_parent(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name}={value!r} "):
        OneGenTrainingArguments(str(tmp_path), **{"use_cpu": True, "report_to": [], name: value})


@pytest.mark.parametrize("value", ["", 5])
def test_the_folder_of_a_training(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"output_dir={value!r} "):
        OneGenTrainingArguments(value, use_cpu=True, report_to=[])


def test_arguments_are_made_again_from_their_own_values(tmp_path: Path) -> None:
    args = make(tmp_path, save_steps=7, eval_strategy="steps", eval_steps=0.5)
    again = dataclasses.replace(args)
    assert again.to_dict() == args.to_dict() and again.save_steps == 7
