"""A OneGen checkpoint as a `SentenceTransformer`, for its evaluators, BEIR-style data and mteb."""

from .conversion import as_sentence_transformer

__all__ = ["as_sentence_transformer"]
