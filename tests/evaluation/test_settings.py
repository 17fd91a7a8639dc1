"""What identifies a model in the settings of an evaluation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers.utils.quantization_config import QuantizationMethod

from onegen_hf.evaluation.runs.settings import model_settings


@pytest.mark.parametrize(
    ("method", "named"), [(QuantizationMethod.BITS_AND_BYTES, "bitsandbytes"), ("int8 of onegen_hf",) * 2]
)
def test_a_quantisation_is_named(model: Any, tokenizer: Any, method: Any, named: str) -> None:
    assert model_settings(model, tokenizer)["dtype"] == "float32"
    model.hf_quantizer = SimpleNamespace(quantization_config=SimpleNamespace(quant_method=method))
    assert model_settings(model, tokenizer)["dtype"] == named
