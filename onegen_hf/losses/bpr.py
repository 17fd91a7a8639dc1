"""Bayesian personalised ranking: the paper's contrastive loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..checks import choice
from ..data.targets import NEGATIVE, POSITIVE
from .contrastive import ContrastiveLoss


class BPRLoss(ContrastiveLoss):
    r"""
    BPR over all positives of an anchor against all its negatives.

    For an anchor with positives P and negatives N, and s the scaled cosine similarity,

    $$L = \frac{1}{|P|} \sum_{p \in P} \; \operatorname{red}_{n \in N} \; -\log \sigma(s_p - s_n)$$

    averaged over the anchors.

    Args:
        scale (`float`, *optional*, defaults to 20.0): Factor on the cosine similarity. Bare cosines differ by at most
            2, so that -log σ never falls below 0.13 and its gradient hardly tells solved pairs from wrong ones.
        negatives (`str`, *optional*, defaults to `"mean"`): The reduction `red` over an anchor's negatives. `"mean"`
            is the paper's. `"sum"` keeps the gradient of a hard negative undiluted by the easy ones around it, however
            large the batch; it bounds InfoNCE from above, because log(1 + Σ eˣ) ≤ Σ log(1 + eˣ).

    References:
        - OneGen, section 3.2, https://arxiv.org/abs/2409.05152
        - BPR: Bayesian Personalized Ranking from Implicit Feedback, https://arxiv.org/abs/1205.2618

    Relations:
        - [`InfoNCELoss`] lets the negatives of an anchor compete with each other and takes one positive at a time.

    Example:

    ```python
    >>> loss = BPRLoss(scale=20.0)
    >>> loss(anchors, candidates, targets)   # (2, 576), (5, 576), (2, 5) -> 0-d
    ```
    """

    def __init__(self, scale: float = 20.0, negatives: str = "mean") -> None:
        super().__init__(scale)
        self.negatives = choice(("mean", "sum"))("negatives", negatives)

    def per_anchor(self, scores: Tensor, targets: Tensor) -> Tensor:
        # One row per pair of an anchor and a positive, so that memory grows with the pairs and not with their square.
        anchors, positives = (targets == POSITIVE).nonzero(as_tuple=True)
        differences = scores[anchors, positives].unsqueeze(1) - scores[anchors]  # (pairs, candidates)
        losses = softplus(-differences).masked_fill(targets[anchors] != NEGATIVE, 0.0).sum(dim=1)
        total = torch.zeros_like(scores[:, 0]).index_add(0, anchors, losses)
        divisor = (targets == POSITIVE).sum(dim=1)
        if self.negatives == "mean":
            divisor = divisor * (targets == NEGATIVE).sum(dim=1)
        return total / divisor

    def get_config_dict(self) -> dict[str, Any]:
        return {**super().get_config_dict(), "negatives": self.negatives}

    @property
    def citation(self) -> str:
        return (
            "@inproceedings{rendle2009bpr,\n"
            "  title = {BPR: Bayesian Personalized Ranking from Implicit Feedback},\n"
            "  author = {Rendle, Steffen and Freudenthaler, Christoph and Gantner, Zeno and Schmidt-Thieme, Lars},\n"
            "  booktitle = {UAI}, year = {2009}\n}"
        )
