"""A wrapped model is answered with the name of the wrapper and the way out of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.tiny_models import tiny_model

from onegen_hf.modeling.wrapped import refuse_wrapped
from onegen_hf.pipelines.checkpoint import prepare_checkpoint

WRAPPERS: dict[str, tuple[Any, str]] = {
    "peft": (
        lambda model: get_peft_model(model, LoraConfig(target_modules=["q_proj"])),
        "model is a PeftModel around",
    ),
    "compiled": (
        torch.compile,
        "model is a OptimizedModule around a OneGenLlamaForCausalLM: pass .*`model._orig_mod`",
    ),
    "parallel": (torch.nn.DataParallel, "model is a DataParallel around a OneGenLlamaForCausalLM: .*`model.module`"),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_wrappers_are_named(kind: str, base_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(base_tokenizer)
    wrap, message = WRAPPERS[kind]
    wrapped = wrap(tiny_model(tokenizer))
    with pytest.raises(TypeError, match=message):
        refuse_wrapped(wrapped)
    with pytest.raises(TypeError, match=message):
        prepare_checkpoint(wrapped, tokenizer)


def test_others_are_left_alone(model: Any) -> None:
    for other in (model, None, "name", torch.nn.Linear(2, 2)):
        refuse_wrapped(other)
