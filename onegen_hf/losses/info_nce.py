"""InfoNCE: the usual loss of dense retrievers, in one direction or in both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..checks import checked, flag
from ..data.targets import NEGATIVE, POSITIVE
from .contrastive import ContrastiveLoss


class InfoNCELoss(ContrastiveLoss):
    r"""
    Cross-entropy of each positive among itself and the anchor's negatives, averaged over the positives.

    $$L = \frac{1}{|P|} \sum_{p \in P} -\log \frac{e^{s_p}}{e^{s_p} + \sum_{n \in N} e^{s_n}}$$

    Other positives of the same anchor are left out of the denominator: they are no negatives.

    With `symmetric`, the mean of this and of the other direction, in which a passage has to find its anchor among
    those that it is a negative of:

    $$L' = \frac{1}{|P|} \sum_{p \in P} -\log \frac{e^{s_p}}{e^{s_p} + \sum_{a \in N_p} e^{s_{ap}}}$$

    Args:
        scale (`float`, *optional*, defaults to 20.0): Factor on the cosine similarity (inverse temperature).
        symmetric (`bool`, *optional*, defaults to `False`): Compare in both directions.

    References:
        - Representation Learning with Contrastive Predictive Coding, https://arxiv.org/abs/1807.03748

    Relations:
        - [`BPRLoss`] with `negatives="sum"` is an upper bound; the two agree with a single negative.
    """

    @checked(symmetric=flag())
    def __init__(self, scale: float = 20.0, symmetric: bool = False) -> None:
        super().__init__(scale)
        self.symmetric = self.compares_anchors = symmetric

    def per_anchor(self, scores: Tensor, targets: Tensor) -> Tensor:
        positive = targets == POSITIVE
        negative_scores = scores.masked_fill(targets != NEGATIVE, -torch.inf)
        losses = torch.logaddexp(scores, negative_scores.logsumexp(dim=1, keepdim=True)) - scores
        if self.symmetric:
            losses = (losses + torch.logaddexp(scores, negative_scores.logsumexp(dim=0, keepdim=True)) - scores) / 2
        return losses.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)

    def get_config_dict(self) -> dict[str, Any]:
        return {**super().get_config_dict(), **({"symmetric": True} if self.symmetric else {})}

    @property
    def citation(self) -> str:
        return (
            "@article{oord2018cpc,\n"
            "  title = {Representation Learning with Contrastive Predictive Coding},\n"
            "  author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},\n"
            "  journal = {arXiv preprint arXiv:1807.03748}, year = {2018}\n}"
        )
