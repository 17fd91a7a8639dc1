"""`embed`: retrieval embeddings without the language-model head, in groups of rows of similar length."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from onegen_hf.modeling.mixin import _groups_of_similar_length


@pytest.mark.parametrize("architecture", ["llama_tied", "mistral", "gemma2", "gpt2", "mixtral"])
@pytest.mark.parametrize("lengths", [[3, 3, 4, 9, 10, 30, 31], [31, 2, 17, 2], [5]])
def test_embed_in_groups_equals_one_by_one(architecture: str, lengths: list[int], make: Any) -> None:
    model = make(architecture).model
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, 400, (len(lengths), max(lengths)), generator=generator)
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    positions = torch.tensor([[length - 1, length // 2] for length in lengths])
    with torch.no_grad():
        together = model.embed(ids, mask, positions)
        alone = [model.embed(ids[n : n + 1, :length], None, positions[n : n + 1]) for n, length in enumerate(lengths)]
        hidden = [model(input_ids=ids[n : n + 1, :length], output_hidden_states=True).hidden_states[-1]
                  for n, length in enumerate(lengths)]  # fmt: skip
    assert together.shape == (len(lengths), 2, 32)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    expected = torch.stack([h[0, p] for h, p in zip(hidden, positions, strict=True)])
    torch.testing.assert_close(together, expected, rtol=1e-4, atol=1e-5)


def test_embed_runs_no_head(llama: SimpleNamespace) -> None:
    sizes = []
    llama.model.lm_head.register_forward_hook(lambda module, args, output: sizes.append(args[0].numel()))
    llama.model.embed(
        llama.batch["passage_input_ids"],
        llama.batch["passage_attention_mask"],
        llama.batch["passage_retrieval_positions"],
    )
    assert sum(sizes) == 0


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([], []),
        ([7], [(0, 1, 7)]),
        ([5, 5, 5], [(0, 3, 5)]),
        ([1, 100], [(0, 1, 1), (1, 2, 100)]),
        ([90, 100], [(0, 2, 100)]),
        ([10, 10, 100, 100], [(0, 2, 10), (2, 4, 100)]),
    ],
)
def test_groups(lengths: list[int], groups: list[tuple[int, int, int]]) -> None:
    assert _groups_of_similar_length(lengths) == groups


def test_groups_cover_all_rows_with_little_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        lengths = sorted(torch.randint(1, 200, (50,), generator=generator).tolist())
        groups = _groups_of_similar_length(lengths)
        assert [row for start, stop, _ in groups for row in range(start, stop)] == list(range(50))
        for start, stop, longest in groups:
            assert longest == max(lengths[start:stop])
            assert sum(lengths[start:stop]) >= 0.85 * longest * (stop - start)
