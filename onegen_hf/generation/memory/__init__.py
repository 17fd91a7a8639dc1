"""The keys and values of a batch, stored in the fastest way that is correct for the model."""

from .base import Memory, StepOutput
from .packed import PackedMemory
from .self_test import Reading, memory_for, reading_of
from .sequential import SequentialMemory

__all__ = ["Memory", "PackedMemory", "Reading", "SequentialMemory", "StepOutput", "memory_for", "reading_of"]
