"""`Variant`: in what one training run differs from the others, and the table of them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """
    A training run.

    Args:
        asks (`str`): The question that comparing it with `base` answers.
        options (`Mapping`, *optional*): Arguments of [`OneGenTrainingArguments`] that differ from those of `base`.
        adapter (`bool`, *optional*, defaults to `True`): Whether LoRA is trained, or all weights.
        frozen_passages (`bool`, *optional*, defaults to `False`): Passages are embedded by the model as it was before
            training; only the query token learns.
        experts (`int`, *optional*, defaults to 0): Each feed-forward layer becomes so many experts, of which two are
            used per token; all of them start as copies.
        examples (`float`, *optional*, defaults to 1.0): Share of the examples that `base` sees, each once.
    """

    asks: str
    options: Mapping[str, Any] = field(default_factory=dict)
    adapter: bool = True
    frozen_passages: bool = False
    experts: int = 0
    examples: float = 1.0


VARIANTS = {
    "base": Variant("λg = λr = 1, BPR averaged over negatives (the paper's), LoRA: what the others are compared with"),
    "no_retrieval_loss": Variant("does generation suffer from the retrieval loss?", {"lambda_ret": 0.0}),
    "lambda_ret_0.25": Variant("how much weight does retrieval need?", {"lambda_ret": 0.25}),
    "lambda_ret_4": Variant("how much weight does retrieval bear?", {"lambda_ret": 4.0}),
    "bpr_sum": Variant("must a hard negative be undiluted by easy ones?", {"bpr_negatives": "sum"}),
    "info_nce": Variant("is BPR better than InfoNCE?", {"contrastive_loss": "info_nce"}),
    "bpr_scale_5": Variant("what does a smaller scale in BPR do?", {"contrastive_scale": 5.0}),
    "bpr_scale_50": Variant("what does a larger scale in BPR do?", {"contrastive_scale": 50.0}),
    "query_token_only": Variant("must passages be embedded by the trained model?", frozen_passages=True),
    "full_fine_tuning": Variant("is LoRA enough?", {"learning_rate": 5e-5}, adapter=False),
    "half_of_the_data": Variant("what do more examples bring?", examples=0.5),
    "twice_the_data": Variant("what do more examples bring?", examples=2.0),
    "mixture_of_experts": Variant("does it work with experts?", {"learning_rate": 5e-5}, adapter=False, experts=4),
}
