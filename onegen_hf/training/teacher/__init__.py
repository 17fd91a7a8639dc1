"""Teachers for distillation: they score the training data once, before the training, and are then only looked up."""

from .cross_encoder import CrossEncoderTeacher
from .embedding import EmbeddingTeacher
from .from_name import teacher_of

__all__ = ["CrossEncoderTeacher", "EmbeddingTeacher", "teacher_of"]
