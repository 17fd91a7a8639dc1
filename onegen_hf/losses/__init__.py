"""Training objectives, one per file: BPR, InfoNCE, their Matryoshka form, distillation and the language-model loss."""

from .bpr import BPRLoss
from .causal_lm import causal_lm_loss
from .contrastive import ContrastiveLoss
from .distillation import DistillationLoss
from .gather import Anchors, Candidates, gather_candidates, gather_other_anchors
from .info_nce import InfoNCELoss
from .matryoshka import MatryoshkaLoss
from .options import loss_options

CONTRASTIVE_LOSSES: dict[str, type[ContrastiveLoss]] = {"bpr": BPRLoss, "info_nce": InfoNCELoss}
"""Name in configurations → class. A new loss is a file in this folder and an entry here."""

__all__ = [
    "CONTRASTIVE_LOSSES",
    "Anchors",
    "BPRLoss",
    "Candidates",
    "ContrastiveLoss",
    "DistillationLoss",
    "InfoNCELoss",
    "MatryoshkaLoss",
    "causal_lm_loss",
    "gather_candidates",
    "gather_other_anchors",
    "loss_options",
]
