"""Builders of training data. Nothing here imports torch, transformers or onegen_hf."""
