"""`TokenHead`: the logits of a few tokens, without those of the whole vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .int8 import Int8Linear
from .tiny_twin import tiny_twin


class TokenHead:
    """
    The language-model head, asked for one state and a few tokens at a time. Where decoding is constrained to a few
    tokens, a small model spends a third of a step on logits that nobody looks at.

    Args:
        weight (`Tensor` of shape `(vocab, hidden)`)
        bias (`Tensor` of shape `(vocab,)`, *optional*)
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    @classmethod
    def of(cls, model: Any) -> TokenHead | None:
        """
        The head of a model; `None` on an accelerator, where the whole head costs little and waiting for it much, and
        where a logit is more than the product of a state with a row of the head.

        A head in int8 has no rows to take: those of the embeddings that it is tied to are used, which are exact.

        Args:
            model ([`OneGenForCausalLM`])
        """
        head = model.get_output_embeddings()
        if model.device.type != "cpu" or not _is_a_product(model):
            return None
        if type(head) is nn.Linear:
            return cls(head.weight, head.bias)
        if isinstance(head, Int8Linear) and head.bias is None and model.config.get_text_config().tie_word_embeddings:
            return cls(model.get_input_embeddings().weight)
        return None

    def best(self, states: Tensor, allowed: Sequence[Sequence[int]]) -> list[int]:
        """
        The allowed token with the highest logit for each state; of several the first one of the vocabulary.

        Args:
            states (`Tensor` of shape `(rows, hidden)`): The last hidden states.
            allowed (`Sequence[Sequence[int]]`): At least one token for each row.
        """
        chosen = []
        for state, tokens in zip(states, map(sorted, allowed), strict=True):
            if len(tokens) == 1:
                chosen.append(tokens[0])
                continue
            bias = None if self.bias is None else self.bias[tokens]
            chosen.append(tokens[int(linear(state, self.weight[tokens], bias).argmax())])
        return chosen


_tried: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@torch.no_grad()
def _is_a_product(model: Any) -> bool:
    """Whether logits are the head's product with the last hidden state, without caps or scales; tried on a twin."""
    twin = tiny_twin(model)
    if twin is None:
        return False
    if twin not in _tried:
        head = twin.get_output_embeddings()
        ids = torch.tensor([[3, 9, 4, 17]])
        output = twin(ids, use_cache=False, retrieval_positions=torch.ones_like(ids, dtype=torch.bool))
        expected = None
        if type(head) is nn.Linear:
            expected = linear(output.retrieval_embeddings.view(4, -1), head.weight, head.bias)
        _tried[twin] = expected is not None and torch.allclose(output.logits[0], expected, rtol=1e-4, atol=1e-5)
    return _tried[twin]
