"""Distillation: the model's ranking of a batch's passages follows that of a teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ..checks import checked, number
from ..data.targets import IGNORED
from ..similarity import similarity_matrix
from .contrastive import count_anchors


class DistillationLoss(nn.Module):
    r"""
    KL divergence between a teacher's distribution over the passages of a batch and the model's.

    For an anchor with teacher scores $t_c$ and cosine similarities $s_c$ to the candidates $c$,

    $$L = \sum_c p_c \log \frac{p_c}{q_c}, \quad p = \operatorname{softmax}(t / \tau), \quad
    q = \operatorname{softmax}(\text{scale} \cdot s)$$

    averaged over the anchors. Candidates that the anchor ignores, or whose teacher score is unknown, are in neither
    distribution. An anchor without a known score contributes 0.

    Args:
        scale (`float`, *optional*, defaults to 20.0): Factor on the model's cosine similarity.
        temperature (`float`, *optional*, defaults to 0.05): Divides the teacher's scores. The default suits cosines;
            logits of a cross-encoder, which span some ten units, call for about 1.

    Inputs of `forward`:
        - `anchors` of shape `(n_anchors, hidden)`
        - `candidates` of shape `(n_candidates, hidden)`
        - `targets` of shape `(n_anchors, n_candidates)`, integer: -1 marks a candidate that this anchor ignores.
        - `teacher_scores` of shape `(n_anchors, n_candidates)`, float32: NaN where unknown.
        - `num_anchors` (`int` or 0-d `Tensor`, *optional*): As for [`ContrastiveLoss`].

    Returns a 0-d tensor; 0 (with a gradient of 0) when no score is known.

    References:
        - Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531
        - In-Batch Negatives for Knowledge Distillation with Tightly-Coupled Teachers for Dense Retrieval,
          https://aclanthology.org/2021.repl4nlp-1.17

    Relations:
        - [`InfoNCELoss`] is the same with a teacher that gives all weight to one positive.
    """

    @checked(scale=number(above=0), temperature=number(above=0))
    def __init__(self, scale: float = 20.0, temperature: float = 0.05) -> None:
        super().__init__()
        self.scale, self.temperature = scale, temperature

    def forward(
        self,
        anchors: Tensor,
        candidates: Tensor,
        targets: Tensor,
        teacher_scores: Tensor,
        num_anchors: int | Tensor | None = None,
    ) -> Tensor:
        expected = (anchors.shape[0], candidates.shape[0])
        if not targets.shape == teacher_scores.shape == expected:
            raise ValueError(
                f"targets has shape {tuple(targets.shape)} and teacher_scores {tuple(teacher_scores.shape)}, expected "
                f"(n_anchors, n_candidates) = {expected}"
            )
        if not targets.numel():
            return 0.0 * (anchors.float().sum() + candidates.float().sum())
        known = ~teacher_scores.isnan() & (targets != IGNORED)
        scores = self.scale * similarity_matrix(anchors, candidates)
        dtype = torch.promote_types(scores.dtype, torch.float32)  # autocast would leave bfloat16
        losses = divergence(teacher_scores.to(dtype) / self.temperature, scores.to(dtype), known)
        return losses.sum() / (count_anchors(targets) if num_anchors is None else num_anchors)

    def get_config_dict(self) -> dict[str, Any]:
        """Settings for the model card."""
        return {"scale": self.scale, "temperature": self.temperature}


def divergence(teacher: Tensor, student: Tensor, known: Tensor) -> Tensor:
    """
    KL(softmax(teacher) ‖ softmax(student)) of each row, over its known columns.

    Args:
        teacher, student (`Tensor` of shape `(rows, columns)`): Logits.
        known (`Tensor` of the same shape, bool)

    Returns:
        `Tensor` of shape `(rows,)`; 0 for a row without a known column.
    """
    # The lowest finite number and not -inf: a row without a known column would become NaN, and so would its gradient.
    log_teacher, log_student = (
        log_softmax(logits.masked_fill(~known, torch.finfo(logits.dtype).min), dim=1) for logits in (teacher, student)
    )
    return (log_teacher.exp() * (log_teacher - log_student)).masked_fill(~known, 0.0).sum(dim=1)
