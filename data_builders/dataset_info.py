"""What the README says of the data files: features and sizes, as `datasets` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow.parquet as pq
from datasets import DatasetInfo, Features, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict

from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES


def dataset_infos(root: Path, paths: Mapping[str, str]) -> DatasetInfosDict:
    """
    Measure the Parquet files of a repository.

    `load_dataset` checks the number of rows against it.

    Args:
        root (`Path`):
            The folder of the repository.
        paths (`Mapping[str, str]`):
            `documents`, and each split of the examples → its files, as a path or a pattern.

    Returns:
        `DatasetInfosDict`: By config.
    """
    examples = {split: path for split, path in paths.items() if split != "documents"}
    return DatasetInfosDict(
        documents=_info(root, {"train": paths["documents"]}, DOCUMENTS_FEATURES),
        examples=_info(root, examples, EXAMPLES_FEATURES),
    )


def content_digest(root: Path, patterns: Iterable[str]) -> str:
    """
    A digest of the files that patterns find, names and bytes.

    The cache of `datasets` knows a folder by what its README says, not by its files. With the digest in the README, a
    repository that is built again, or another one of the same name, is not taken for the one that was loaded before.
    """
    digest = hashlib.sha256()
    for file in (file for pattern in patterns for file in sorted(root.glob(pattern))):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _info(root: Path, paths: Mapping[str, str], features: Features) -> DatasetInfo:
    splits, size = SplitDict(), 0
    for split, pattern in paths.items():
        found = sorted(root.glob(pattern))
        described = [pq.read_metadata(file) for file in found]
        groups = [one.row_group(number) for one in described for number in range(one.num_row_groups)]
        splits.add(
            SplitInfo(
                name=split,
                num_bytes=sum(group.total_byte_size for group in groups),
                num_examples=sum(one.num_rows for one in described),
            )
        )
        size += sum(file.stat().st_size for file in found)
    total = sum(split.num_bytes for split in splits.values())
    return DatasetInfo(features=features, splits=splits, download_size=size, dataset_size=total)
