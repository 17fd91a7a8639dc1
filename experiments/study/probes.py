"""Recall@1 of the states of every layer: where in depth the retrieval signal lives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from onegen_hf.data.conversations import RoleEncoder
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.similarity import similarity_matrix

from .data import StudyData


@torch.inference_mode()
def recall_by_layer(model: Any, tokenizer: Any, data: StudyData, batch_size: int = 16) -> list[float]:
    """
    Queries are asked after the gold text before them, and each layer's states at query and document tokens are
    compared with one another.

    Args:
        model ([`OneGenForCausalLM`])
        tokenizer (`PreTrainedTokenizerBase`)
        data ([`StudyData`])
        batch_size (`int`, *optional*, defaults to 16)

    Returns:
        `list[float]`: Of the token embeddings, then of each layer; the last one is after the final norm, which is what
        the model retrieves with.
    """
    store, encoder = data.searched_store(), PassageEncoder(tokenizer, model.onegen_config)
    passages = [encoder.row(passage) for passage in store]
    stored = _states(model, [one.input_ids for one in passages], [one.positions for one in passages], batch_size)
    roles = RoleEncoder(tokenizer, model.onegen_config)
    ids, positions, gold = [], [], list[set[int]]()
    for row in data.questions:
        encoded = roles.encode(row["messages"])
        hops = [(place, hop) for place, hop in zip(encoded.query_positions, row["positives"], strict=False) if hop]
        ids.append(encoded.input_ids)
        positions.append([place for place, _ in hops])
        gold += [{store.resolve(one)[0] for one in hop} for _, hop in hops]
    asked = _states(model, ids, positions, batch_size)
    found = [similarity_matrix(q, p).argmax(dim=1).tolist() for q, p in zip(asked, stored, strict=True)]
    return [round(sum(n in own for n, own in zip(hits, gold, strict=True)) / len(gold), 4) for hits in found]


def _states(model: Any, rows: Sequence[Sequence[int]], positions: Sequence[Sequence[int]], size: int) -> Tensor:
    """Of shape `(layers + 1, positions, hidden)`, float32, in the order of rows and positions."""
    parts = []
    for start in range(0, len(rows), size):
        own = rows[start : start + size]
        width = max(map(len, own))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in own], device=model.device)
        # Padding stands on the right, which no earlier position of a causal decoder sees.
        output = model.get_decoder()(input_ids=ids, use_cache=False, output_hidden_states=True)
        where = [(r, place) for r, places in enumerate(positions[start : start + size]) for place in places]
        row_numbers, places = torch.tensor(where, device=model.device).reshape(-1, 2).T
        parts.append(torch.stack([layer[row_numbers, places].float().cpu() for layer in output.hidden_states]))
    return torch.cat(parts, dim=1)
