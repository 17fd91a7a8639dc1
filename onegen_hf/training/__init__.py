"""Training: the joint objective on transformers' Trainer."""
