"""Turning embeddings to their principal axes: hand-worked axes, what stays, what is gained, what is refused."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from support.evaluation_setup import checkpoint, rows
from support.sample_corpus import DOCUMENTS

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.evaluation import fit_projection
from onegen_hf.evaluation.projection import principal_axes
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.similarity import normalize, similarity_matrix

pytestmark = pytest.mark.xdist_group("evaluation")


def loaded() -> tuple[Any, Any]:
    return OneGenForCausalLM.from_pretrained(checkpoint()).eval(), load_tokenizer(checkpoint())


def test_axes_by_hand() -> None:
    # Queries along the second axis, passages along it and the third one: by second moments 1.5, 0.5, 0.
    queries = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    passages = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(principal_axes(queries, passages).abs(), torch.eye(3)[[1, 2, 0]])


def test_queries_count_as_much_as_passages() -> None:
    few, many = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]).repeat(99, 1)
    values = torch.linalg.eigvalsh(few.T @ few + many.T @ many / 99)
    torch.testing.assert_close(values, torch.ones(2))
    turn = principal_axes(torch.tensor([[0.8, 0.6]]), many)
    torch.testing.assert_close(turn[0].abs(), normalize(torch.tensor([0.8, 0.6]) + torch.tensor([0.0, 1.0])))


def test_prefixes_of_turned_embeddings_keep_the_most() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(6, 32, generator=generator)
    vectors = normalize(torch.randn(80, 6, generator=generator) @ mixing)  # of rank 6
    axes = principal_axes(vectors[:40], vectors[40:])
    torch.testing.assert_close(axes @ axes.T, torch.eye(32), rtol=0, atol=1e-5)
    whole = similarity_matrix(vectors[:40], vectors[40:])
    turned = similarity_matrix(vectors[:40] @ axes[:6].T, vectors[40:] @ axes[:6].T)
    torch.testing.assert_close(turned, whole, rtol=0, atol=1e-5)
    assert (similarity_matrix(vectors[:40, :6], vectors[40:, :6]) - whole).abs().max() > 0.1


def test_a_rotation_changes_no_search() -> None:
    model, tokenizer = loaded()
    before = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    queries = torch.randn(5, before.dimension, generator=torch.Generator().manual_seed(0))
    fit = fit_projection(model, tokenizer, DOCUMENTS, rows(), show_progress=False)
    assert model.onegen_config.projection_dim == before.dimension == len(fit.weight)
    assert fit.fitted_queries + fit.measured_queries == sum(len(row["positives"]) for row in rows())
    assert fit.fitted_queries > 0 and fit.measured_queries > 0 and fit.passages == len(DOCUMENTS)
    with pytest.raises(ValueError, match="other weights"):
        before.check_model(model, tokenizer)
    after = PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False)
    (old_scores, old_rows), (new_scores, new_rows) = before.search(queries, 3), after.search(queries @ fit.weight.T, 3)
    assert (old_rows == new_rows).all()
    torch.testing.assert_close(torch.as_tensor(new_scores), torch.as_tensor(old_scores), rtol=0, atol=1e-5)
    assert fit.prefixes[-1].dimensions == 32 and fit.prefixes[-1].before == fit.prefixes[-1].after


def test_shorter_embeddings_and_a_second_fit() -> None:
    model, tokenizer = loaded()
    first = fit_projection(model, tokenizer, DOCUMENTS, rows(), dim=8, show_progress=False)
    assert first.weight.shape == (8, 32) and model.retrieval_projection.weight.shape == (8, 32)
    with pytest.raises(ValueError, match="dim=9 is more than the 8 numbers of an embedding"):
        fit_projection(model, tokenizer, DOCUMENTS, rows(), dim=9, show_progress=False)
    again = fit_projection(model, tokenizer, DOCUMENTS, rows(), dim=4, show_progress=False)
    assert again.weight.shape == (4, 32)
    # The axes of what the first projection keeps.
    kept = torch.linalg.lstsq(first.weight.T, again.weight.T).residuals
    assert kept.numel() == 0 or float(kept.max()) < 1e-8


def test_the_same_seed_gives_the_same_projection() -> None:
    weights = []
    for _ in range(2):
        model, tokenizer = loaded()
        fit = fit_projection(model, tokenizer, DOCUMENTS, rows(), num_passages=4, show_progress=False)
        assert fit.passages >= 4
        weights.append(fit.weight)
    assert torch.equal(*weights)


def test_what_it_cannot_be_fitted_on() -> None:
    model, tokenizer = loaded()
    without = [{**copy.deepcopy(row), "positives": [[] for _ in row["positives"]]} for row in rows()]
    with pytest.raises(ValueError, match="examples has 0 rows whose query tokens have positives"):
        fit_projection(model, tokenizer, DOCUMENTS, without, show_progress=False)
    with pytest.raises(ValueError, match="positives are not in the documents"):
        fit_projection(model, tokenizer, DOCUMENTS[:1], rows(), show_progress=False)
    assert model.retrieval_projection is None


def test_it_shows_what_it_found() -> None:
    model, tokenizer = loaded()
    fit = fit_projection(model, tokenizer, DOCUMENTS, rows(), show_progress=False)
    fit = dataclasses.replace(fit, fitted_queries=3, measured_queries=4, passages=9)
    lines = str(fit).splitlines()
    assert lines[0] == "fitted on 3 queries and 9 passages; recall@1 of 4 others"
    assert lines[2].split() == ["dimensions", "before", "after"] and lines[-1].split()[0] == "32"
