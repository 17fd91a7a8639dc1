"""Converters for questions that one retrieval answers: Self-RAG's files, SQuAD and its relatives."""
