"""Cards of models and indexes: filled from what training, evaluation and indexing recorded, never by hand."""

from .index import index_card
from .model import model_card

__all__ = ["index_card", "model_card"]
