"""The fingerprint tells models apart, but not the dtypes of one model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from support.index_fixtures import make_model, make_tokenizer

from onegen_hf import RetrievalTokens
from onegen_hf.index import ModelFingerprint


@pytest.fixture(scope="module")
def fingerprint(tokenizer: Any) -> ModelFingerprint:
    return ModelFingerprint.of(make_model(tokenizer), tokenizer)


def test_round_trip(fingerprint: ModelFingerprint) -> None:
    copy = ModelFingerprint.from_dict(json.loads(json.dumps(fingerprint.to_dict())))
    assert dict(copy.facts) == dict(fingerprint.facts)
    np.testing.assert_allclose(copy.probes, fingerprint.probes, atol=1e-6)
    assert copy.difference(fingerprint) is None
    assert fingerprint.probes.shape == (4, 32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtype_makes_no_difference(tokenizer: Any, fingerprint: ModelFingerprint, dtype: torch.dtype) -> None:
    assert ModelFingerprint.of(make_model(tokenizer).to(dtype), tokenizer).difference(fingerprint) is None


def test_other_weights(tokenizer: Any, fingerprint: ModelFingerprint) -> None:
    other = ModelFingerprint.of(make_model(tokenizer, seed=1), tokenizer)
    assert "other weights (cosine" in str(fingerprint.difference(other))


@pytest.mark.parametrize("token", ["[RQ]", "[RD]"])
def test_one_trained_token(tokenizer: Any, fingerprint: ModelFingerprint, token: str) -> None:
    model = make_model(tokenizer)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.convert_tokens_to_ids(token)] += 0.3 * torch.randn(
            32, generator=torch.Generator().manual_seed(0)
        )
    assert "other weights" in str(ModelFingerprint.of(model, tokenizer).difference(fingerprint))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"passage_template": "{text}"}, "passage_template"),
        ({"granularity": "sentence"}, "granularity 'passage' against 'sentence'"),
        ({"max_embedded_tokens": 64}, "max_embedded_tokens 128 against 64"),
        ({"max_inserted_tokens": 64}, "max_embedded_tokens 128 against 64"),
        ({"tokens": RetrievalTokens(document="[DOC]")}, "document_token"),
    ],
)
def test_other_settings(fingerprint: ModelFingerprint, settings: Any, message: str) -> None:
    tokenizer = make_tokenizer()
    other = ModelFingerprint.of(make_model(tokenizer, **settings), tokenizer)
    assert message in str(fingerprint.difference(other))


def test_inserted_length_is_free(tokenizer: Any, fingerprint: ModelFingerprint) -> None:
    model = make_model(tokenizer, max_inserted_tokens=32, max_embedded_tokens=128)
    assert fingerprint.difference(ModelFingerprint.of(model, tokenizer)) is None


def test_other_size(tokenizer: Any, fingerprint: ModelFingerprint) -> None:
    other = ModelFingerprint.of(make_model(tokenizer, hidden=16), tokenizer)
    assert fingerprint.difference(other) == "hidden_size 32 against 16"
    same_facts = ModelFingerprint(fingerprint.facts, other.probes)
    assert "shape (4, 32) against (4, 16)" in str(fingerprint.difference(same_facts))


def test_nan(tokenizer: Any) -> None:
    model = make_model(tokenizer)
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="fingerprint of the model.*NaN"):
        ModelFingerprint.of(model, tokenizer)


@pytest.mark.parametrize("values", [{}, {"facts": {}, "probes": "x"}, {"facts": {}, "probes": [1.0]}, {"facts": 1}])
def test_damaged(values: Any) -> None:
    with pytest.raises(ValueError, match="build the index again"):
        ModelFingerprint.from_dict(values)
