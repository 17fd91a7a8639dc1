"""`Upload`: which files of a directory go into a repository, with which card; sent as one commit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    ModelCard,
    RepoCard,
)
from transformers import AutoConfig

from data_builders.card import named

from ..adapters import is_adapter
from ..cards import index_card, model_card
from ..configuration import OneGenConfig
from ..index.storage import DESCRIPTION_FILE, INDEX_FILE, PASSAGES_FILE, read_description
from ..training_run import read_record
from .reports import check_reports

CARD = "README.md"
_INDEX_FILES = (INDEX_FILE, PASSAGES_FILE, DESCRIPTION_FILE)
# By name, so that neither pickles (*.bin, *.pt) nor the state of the optimizer nor anything private goes along.
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "modeling_onegen.py")
_ROWS = ("documents/*.parquet", "examples/*.parquet")
_DATASET_FILES = (*_ROWS, "report.json")
# What an older push may have left, and would be loaded in place of this one's weights.
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "adapter_config.json")


@dataclass(frozen=True)
class Upload:
    """
    What is to be pushed.

    Args:
        repo_id (`str`): Such as `"organisation/name"`.
        repo_type (`str`): `"model"` or `"dataset"`.
        directory (`Path`)
        files (`tuple[str, ...]`): Relative to `directory`, with `/`.
        card (`RepoCard`): Becomes README.md.
        replaces (`tuple[str, ...]`, *optional*): Patterns of files that are deleted from the repository where they
            are not among `files`.
    """

    repo_id: str
    repo_type: str
    directory: Path
    files: tuple[str, ...]
    card: RepoCard
    replaces: tuple[str, ...] = ()

    def describe(self) -> str:
        """The repository, and the files with their sizes."""
        sizes = [(name, (self.directory / name).stat().st_size) for name in self.files]
        lines = [f"{size:>14,}  {name}" for name, size in [*sizes, (CARD, len(str(self.card).encode()))]]
        return "\n".join([f"{self.repo_type} {self.repo_id}", *lines])

    def push(
        self,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
    ) -> CommitInfo:
        """
        Send everything as one commit, so that nobody ever finds half of it, or a mixture with an older version.

        Args:
            private (`bool`, *optional*): For a repository that does not exist yet.
            revision (`str`, *optional*): Branch, made if it is missing; by default `main`.
            commit_message (`str`, *optional*)
            commit_description (`str`, *optional*)
            create_pr (`bool`, *optional*, defaults to `False`): Propose the commit instead of making it.
            token (`str`, *optional*): By default that of `hf auth login` or of `HF_TOKEN`.

        Returns:
            `huggingface_hub.CommitInfo`
        """
        api = HfApi(token=token)
        api.create_repo(self.repo_id, repo_type=self.repo_type, private=private, exist_ok=True)
        if revision not in (None, "main"):
            api.create_branch(self.repo_id, branch=revision, repo_type=self.repo_type, exist_ok=True)
        operations = [CommitOperationAdd(name, str(self.directory / name)) for name in self.files]
        operations.append(CommitOperationAdd(CARD, str(self.card).encode()))
        if self.replaces:
            there = api.list_repo_files(self.repo_id, repo_type=self.repo_type, revision=revision)
            operations += [CommitOperationDelete(name) for name in there if self._is_left(name)]
        return api.create_commit(
            self.repo_id,
            operations,
            commit_message=commit_message or "Upload with onegen-hf",
            commit_description=commit_description,
            create_pr=create_pr,
            repo_type=self.repo_type,
            revision=revision,
        )

    def _is_left(self, name: str) -> bool:
        """Whether a file of the repository is of an older version."""
        patterns = (pattern for pattern in self.replaces if pattern.count("/") == name.count("/"))
        return name not in self.files and any(fnmatch(name, pattern) for pattern in patterns)


def model_upload(
    directory: str | os.PathLike[str],
    repo_id: str,
    reports: Sequence[str] = (),
    keep_card: bool = False,
    merged_from: str | os.PathLike[str] | None = None,
    **card: Any,
) -> Upload:
    """
    A saved checkpoint, full model or adapter, with the index beside it if there is one.

    Args:
        directory (`str` or path)
        repo_id (`str`)
        reports (`Sequence[str]`, *optional*): Output directories of `onegen-hf evaluate`, for the card.
        keep_card (`bool`, *optional*, defaults to `False`): Push the README.md that is there.
        merged_from (`str` or path, *optional*): The adapter that was merged into this model: the reports are of it.
        card: Further arguments of [`model_card`].

    Raises:
        `FileNotFoundError`: If there is no checkpoint.
        `ValueError`: If it has no `onegen` section, or depends on a directory of this machine, or if a report is of
            another model.
    """
    root = _existing(directory, "config.json", "save the model with `save_pretrained`")
    settings = OneGenConfig.of(AutoConfig.from_pretrained(root))
    if settings is None:
        raise ValueError(f"{root / 'config.json'} has no 'onegen' section: push it as the plain model that it is")
    files = _matching(root, _MODEL_FILES)
    if not any(name.endswith(".safetensors") for name in files):
        raise FileNotFoundError(f"{root} holds no weights as *.safetensors: save the model with `save_pretrained`")
    if (location := settings.default_index) is not None:
        if location.startswith("./"):
            if not (root / location).resolve().is_relative_to(root.resolve()):
                raise ValueError(f"default_index={location!r} leads out of {root}: move the index into it")
            _existing(root / location, DESCRIPTION_FILE, "save the default index there, or set default_index to None")
        elif os.path.isabs(location) or os.path.isdir(location):
            raise ValueError(f"default_index={location!r} is a directory of this machine: name a repository instead")
    if is_adapter(root):
        base = read_record(root / "adapter_config.json").get("base_model_name_or_path") or ""
        if os.path.isabs(base) or os.path.isdir(base):
            raise ValueError(f"the adapter's base is the directory {base!r} of this machine: push it merged (--merge)")
    files += index_beside(root, location)
    if keep_card:
        if reports:
            raise ValueError("reports go into the card that is made, but keep_card pushes the one there: choose one")
        kept = ModelCard.load(_existing(root, CARD, "leave keep_card out") / CARD)
        return Upload(repo_id, "model", root, files, kept, _WEIGHTS)
    check_reports(merged_from or root, reports)
    made = model_card(root, repo_id=repo_id, reports=reports, merged_from=merged_from, **card)
    return Upload(repo_id, "model", root, files, made, _WEIGHTS)


def index_upload(directory: str | os.PathLike[str], repo_id: str, keep_card: bool = False) -> Upload:
    """
    A saved [`PassageIndex`]; `PassageIndex.load(repo_id)` finds it.

    Args:
        directory (`str` or path)
        repo_id (`str`)
        keep_card (`bool`, *optional*, defaults to `False`): Push the README.md that is there.

    Raises:
        `FileNotFoundError` or `ValueError`: If there is no complete index.
    """
    root = Path(directory)
    description = read_description(root)
    if keep_card:
        card = DatasetCard.load(_existing(root, CARD, "leave keep_card out") / CARD)
    else:
        card = index_card(description, repo_id)
    return Upload(repo_id, "dataset", root, _INDEX_FILES, card)


def dataset_upload(directory: str | os.PathLike[str], repo_id: str, keep_card: bool = False) -> Upload:
    """
    A dataset that `onegen-hf build` wrote, with its README, whose `configs:` are what `load_dataset` reads.

    Args:
        directory (`str` or path)
        repo_id (`str`)
        keep_card (`bool`, *optional*, defaults to `False`): Push the README.md to the letter; otherwise its code loads
            the dataset from `repo_id`.

    Raises:
        `FileNotFoundError`: If the README or the files of a config are missing.
        `ValueError`: If the README does not name the configs `documents` and `examples`.
    """
    root = _existing(directory, CARD, "make it with `onegen-hf build`, which writes the README last")
    card = DatasetCard.load(root / CARD)
    configs = {config["config_name"]: config["data_files"] for config in card.data.to_dict().get("configs", [])}
    if not {"documents", "examples"} <= configs.keys():
        raise ValueError(f"{root / CARD} names the configs {sorted(configs)}, expected 'documents' and 'examples'")
    for part in (part for parts in configs.values() for part in parts):
        if not any(root.glob(part["path"])):
            raise FileNotFoundError(f"{root / part['path']} is missing, and the README names it: build it again")
    if not keep_card:
        card = DatasetCard(named(str(card), repo_id))
    return Upload(repo_id, "dataset", root, _matching(root, _DATASET_FILES), card, _ROWS)


KINDS = {"model": model_upload, "index": index_upload, "dataset": dataset_upload}
"""What can be pushed → what makes its [`Upload`]."""


def index_beside(root: Path, location: str | None) -> tuple[str, ...]:
    """
    The index that is pushed with a model.

    Args:
        root (`Path`): Directory of the model.
        location (`str`, *optional*): Its `default_index`.

    Returns:
        `tuple[str, ...]`: Files of the default index, or of an index in the usual folder that is no default, relative
        to `root`; none of an index that lies elsewhere.
    """
    folder = os.path.normpath(location) if location and location.startswith("./") else "index"
    if Path(folder).parts[:1] == ("..",):
        return ()
    return _matching(root, [f"{Path(folder).as_posix()}/{name}" for name in _INDEX_FILES])


def _existing(directory: str | os.PathLike[str], name: str, remedy: str) -> Path:
    root = Path(directory)
    if not (root / name).is_file():
        raise FileNotFoundError(f"{root / name} is missing: {remedy}")
    return root


def _matching(root: Path, patterns: Sequence[str]) -> tuple[str, ...]:
    found = {file.relative_to(root).as_posix() for pattern in patterns for file in root.glob(pattern)}
    return tuple(sorted(name for name in found if (root / name).is_file()))
