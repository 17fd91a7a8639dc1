"""What a batch has read so far, kept in the way that is right for the model."""

from .base import Memory, StepOutput
from .packed import PackedMemory
from .self_test import Reading, memory_for, reading_of
from .sequential import SequentialMemory

__all__ = ["Memory", "PackedMemory", "Reading", "SequentialMemory", "StepOutput", "memory_for", "reading_of"]
