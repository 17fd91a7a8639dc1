"""What travels through the Hub: models, indexes and datasets, with their cards, each in one commit."""

from .loaded_model import push_model
from .upload import KINDS, Upload, dataset_upload, index_upload, model_upload

__all__ = ["KINDS", "Upload", "dataset_upload", "index_upload", "model_upload", "push_model"]
