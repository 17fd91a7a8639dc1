"""Cosine similarity, in one place."""

from __future__ import annotations

import pytest
import torch

from onegen_hf.similarity import check_finite, normalize, similarity_matrix


def test_similarity_by_hand() -> None:
    queries = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    passages = torch.tensor([[1.0, 0.0], [0.0, 5.0], [6.0, 8.0]])
    expected = torch.tensor([[0.6, 0.8, 1.0], [0.0, -1.0, -0.8]])
    torch.testing.assert_close(similarity_matrix(queries, passages), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float32_whatever_comes_in(dtype: torch.dtype) -> None:
    embeddings = torch.tensor([[300.0, 400.0], [0.0, 0.0]], dtype=dtype)  # 300² overflows float16
    found = normalize(embeddings)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_normalizes_the_last_dimension() -> None:
    found = normalize(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 3))


def test_different_hidden_sizes() -> None:
    with pytest.raises(ValueError, match="dimension 4 and passages 5: they come from different models"):
        similarity_matrix(torch.ones(1, 4), torch.ones(1, 5))


def test_check_finite() -> None:
    embeddings = torch.ones(4, 3)
    check_finite(embeddings, "passages")
    embeddings[2, 1] = torch.nan
    embeddings[3, 0] = torch.inf
    with pytest.raises(ValueError, match=r"passages: embedding 2 of 4 holds NaN or infinite values \(2 such rows\)"):
        check_finite(embeddings, "passages")
