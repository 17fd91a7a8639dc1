"""What every contrastive loss shares: masks of positives and negatives, similarity, scale, and normalisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import number
from ..data.targets import IGNORED, NEGATIVE, POSITIVE
from ..similarity import similarity_matrix
from .gather import Anchors


class ContrastiveLoss(nn.Module, ABC):
    """
    Base of the losses over anchors (query tokens) and candidates (document tokens).

    Args:
        scale (`float`, *optional*, defaults to 20.0): Factor on the cosine similarity.

    Inputs of `forward`:
        - `anchors` of shape `(n_anchors, hidden)`
        - `candidates` of shape `(n_candidates, hidden)`
        - `targets` of shape `(n_anchors, n_candidates)`, integer: 1 marks a positive of the anchor, 0 a negative,
          -1 a candidate that this anchor ignores. So a positive can never be its own anchor's negative.
        - `num_anchors` (`int` or 0-d `Tensor`, *optional*): divisor of the sum over anchors, for gradient accumulation
          and several processes; by default the number of anchors that have a positive.
        - `others` ([`Anchors`], *optional*): anchors of other processes, which are compared with the candidates where
          the loss does so, and whose own losses are not summed here.

    Returns a 0-d float32 tensor; 0 (with a gradient of 0) when no anchor has both a positive and a negative.
    """

    compares_anchors: bool = False
    """Whether the anchors of a candidate compete with each other, so that those of all processes are needed."""

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = number(above=0)("scale", scale)

    @abstractmethod
    def per_anchor(self, scores: Tensor, targets: Tensor) -> Tensor:
        """
        Args:
            scores (`Tensor` of shape `(n_anchors, n_candidates)`): Scaled similarities.
            targets (`Tensor` of shape `(n_anchors, n_candidates)`): See the class.

        Returns:
            `Tensor` of shape `(n_anchors,)`: One loss per anchor. Every anchor passed has a positive and a negative.
        """

    def forward(
        self,
        anchors: Tensor,
        candidates: Tensor,
        targets: Tensor,
        num_anchors: int | Tensor | None = None,
        others: Anchors | None = None,
    ) -> Tensor:
        if targets.shape != (anchors.shape[0], candidates.shape[0]):
            raise ValueError(
                f"targets has shape {tuple(targets.shape)}, expected (n_anchors, n_candidates) = "
                f"{(anchors.shape[0], candidates.shape[0])}"
            )
        usable = usable_anchors(targets)
        if not bool(usable.any()):
            unused = [anchors, candidates, *([] if others is None else [others.embeddings])]
            return 0.0 * torch.stack([embeddings.float().sum() for embeddings in unused]).sum()
        compared, verdicts = anchors[usable], targets[usable]
        own = compared.shape[0]
        if others is not None:
            compared, verdicts = torch.cat([compared, others.embeddings]), torch.cat([verdicts, others.targets])
        scores = self.scale * similarity_matrix(compared, candidates)
        losses = self.per_anchor(scores, verdicts)[:own]
        return losses.sum() / (count_anchors(targets) if num_anchors is None else num_anchors)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the model card."""
        return {"scale": self.scale}

    @property
    @abstractmethod
    def citation(self) -> str:
        """BibTeX of the loss, for the model card."""


def count_anchors(targets: Tensor) -> Tensor:
    """
    The anchors over which a batch's loss is averaged: those with a positive.

    Whether an anchor also meets a negative may depend on what other processes hold; one that meets none contributes 0.

    Returns:
        0-d int64 `Tensor`.
    """
    return (targets == POSITIVE).any(dim=1).sum()


def usable_anchors(targets: Tensor) -> Tensor:
    """`Tensor` of shape `(n_anchors,)`, bool: the anchors that have at least one positive and one negative."""
    return (targets == POSITIVE).any(dim=1) & (targets == NEGATIVE).any(dim=1)


@torch.no_grad()
def in_batch_accuracy(anchors: Tensor, candidates: Tensor, targets: Tensor) -> Tensor:
    """
    Share of anchors whose most similar candidate is a positive.

    Args and shapes as for [`ContrastiveLoss`]; ignored candidates do not compete.

    Returns:
        0-d float32 `Tensor`; NaN when no anchor has a positive and a negative.
    """
    usable = usable_anchors(targets)
    scores = similarity_matrix(anchors[usable], candidates).masked_fill(targets[usable] == IGNORED, -torch.inf)
    if not scores.numel():
        return torch.tensor(torch.nan, device=targets.device)
    best = scores.argmax(dim=1, keepdim=True)
    return (targets[usable].gather(1, best) == POSITIVE).float().mean()
