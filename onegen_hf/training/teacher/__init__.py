"""Teachers for distillation: they score the training data once, before the training, and are then only looked up."""

from .cross_encoder import CrossEncoderTeacher
from .embedding import EmbeddingTeacher
from .for_training import attach_teacher

__all__ = ["CrossEncoderTeacher", "EmbeddingTeacher", "attach_teacher"]
