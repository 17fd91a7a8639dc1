"""The published files of the paper (`db.jsonl`, `train.jsonl`), converted into our schema and back without loss."""

from data_builders.paper.converter import PaperConverter
from data_builders.paper.export import to_paper_files

__all__ = ["PaperConverter", "to_paper_files"]
