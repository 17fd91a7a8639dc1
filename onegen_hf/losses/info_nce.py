"""InfoNCE: the usual loss of dense retrievers, here for comparison with BPR."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.targets import NEGATIVE, POSITIVE
from .contrastive import ContrastiveLoss


class InfoNCELoss(ContrastiveLoss):
    r"""
    Cross-entropy of each positive among itself and the anchor's negatives, averaged over the positives.

    $$L = \frac{1}{|P|} \sum_{p \in P} -\log \frac{e^{s_p}}{e^{s_p} + \sum_{n \in N} e^{s_n}}$$

    Other positives of the same anchor are left out of the denominator: they are no negatives.

    Args:
        scale (`float`, *optional*, defaults to 20.0): Factor on the cosine similarity (inverse temperature).

    References:
        - Representation Learning with Contrastive Predictive Coding, https://arxiv.org/abs/1807.03748

    Relations:
        - [`BPRLoss`] with `negatives="sum"` is an upper bound; the two agree with a single negative.
    """

    def per_anchor(self, scores: Tensor, targets: Tensor) -> Tensor:
        negatives = scores.masked_fill(targets != NEGATIVE, -torch.inf).logsumexp(dim=1, keepdim=True)
        positive = targets == POSITIVE
        losses = torch.logaddexp(scores, negatives) - scores
        return losses.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)

    @property
    def citation(self) -> str:
        return (
            "@article{oord2018cpc,\n"
            "  title = {Representation Learning with Contrastive Predictive Coding},\n"
            "  author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},\n"
            "  journal = {arXiv preprint arXiv:1807.03748}, year = {2018}\n}"
        )
