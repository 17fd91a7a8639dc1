"""Typed results of the model."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast

CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""Name of the cache in a forward's arguments and output in this version of transformers (`cache` since 5.24)."""


@dataclass
class OneGenOutput(CausalLMOutputWithPast):
    """
    Output of [`OneGenForCausalLM`].

    Args:
        loss (0-d `Tensor`, *optional*): λg · `loss_gen` + λr · `loss_ret` + λd · `loss_distill` (+ the router's loss);
            the sum of those that are computed.
        logits (`Tensor`): `(batch, kept, vocab)`; `(n_labelled, vocab)`, row by row, if `labels` are given, because
            the language-model head then runs only at labelled positions. `None` where the loss is computed without
            logits (`fused_cross_entropy`).
        retrieval_embeddings (`Tensor`, *optional*): Last hidden states at `retrieval_positions`, not normalised:
            `(batch, n, hidden)` for positions of shape `(batch, n)` (zeros where a position is negative),
            `(n_true, hidden)` for a mask.
        passage_embeddings (`Tensor` of shape `(n_passages, hidden)`, *optional*): Embeddings of `passage_input_ids`.
        loss_gen (0-d `Tensor`, *optional*): Cross-entropy over the labelled tokens.
        loss_ret (0-d `Tensor`, *optional*): Contrastive loss over the query tokens.
        loss_distill (0-d `Tensor`, *optional*): KL divergence from a teacher's ranking of the passages.
        loss_router (0-d `Tensor`, *optional*): Load-balancing loss of a mixture of experts, times its coefficient.
        retrieval_accuracy (0-d `Tensor`, *optional*): Share of query tokens that rank a positive first in the batch.
    """

    retrieval_embeddings: Tensor | None = None
    passage_embeddings: Tensor | None = None
    loss_gen: Tensor | None = None
    loss_ret: Tensor | None = None
    loss_distill: Tensor | None = None
    loss_router: Tensor | None = None
    retrieval_accuracy: Tensor | None = None
