"""`Upload`: which files of a directory go into a repository, with which card; sent as one commit."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoCard,
)
from huggingface_hub.utils import HFValidationError, validate_repo_id

from ..checks import text
from .layout import CARD, refuse_links


def check_repo_id(repo_id: str) -> None:
    """
    Raises:
        `TypeError` or `ValueError`: If it cannot be the name of a repository. To be called before anything is written.
    """
    text(empty=True)("repo_id", repo_id)
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"repo_id={repo_id!r} is no name of a repository, such as org/name: {error}") from error


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

    def __post_init__(self) -> None:
        check_repo_id(self.repo_id)
        refuse_links(self.directory, self.files)

    def left_behind(self) -> list[str]:
        """What lies in the directory and is not pushed, by name; folders end with `/`."""
        parts = {name.partition("/")[0] for name in (*self.files, CARD)}
        return sorted(
            f"{entry.name} (link)" if entry.is_symlink() else f"{entry.name}/" if entry.is_dir() else entry.name
            for entry in self.directory.iterdir()
            if entry.name not in parts
        )

    def describe(self) -> str:
        """The repository, the files with their sizes, and what stays behind."""
        sizes = [(name, (self.directory / name).stat().st_size) for name in self.files]
        lines = [f"{size:>14,}  {name}" for name, size in [*sizes, (CARD, len(str(self.card).encode()))]]
        left = self.left_behind()
        if left:
            # A name may hold anything, control characters too.
            shown = [name if name.isprintable() else ascii(name) for name in left]
            lines.append(f"left behind: {', '.join(shown)}")
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
