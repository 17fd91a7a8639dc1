"""`ShardRepository`: a dataset repository of the Hub, where machines that share no folder meet."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import OfflineModeIsEnabled

from ...checks import text
from .shard import SHARD_FILES

_ADDRESS = re.compile(r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<folder>[\w./-]*))?")
_SHARD_FILE = re.compile(r"shards/(\d{8})/([^/]+)")
_CORPUS, _ENCODING, _MANIFEST = "corpus.json", "encoding.json", "manifest.json"
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 20.0
_PATIENCE = 300.0
"""Seconds after which a Hub that does not accept a commit is given up."""
_REFUSED = (400, 401, 403, 404, 413, 422)
"""Answers that stay the same when the request is repeated. Others are conflicts, limits and faults."""


@dataclass(frozen=True)
class RepositoryState:
    """
    What the repository held at one commit.

    Args:
        commit (`str`)
        files (`frozenset[str]`): Below the folder of the address.
    """

    commit: str
    files: frozenset[str]

    @property
    def finished(self) -> set[int]:
        """The shards that are there, whole."""
        matches = filter(None, map(_SHARD_FILE.fullmatch, self.files))
        files: dict[int, set[str]] = {}
        for match in matches:
            files.setdefault(int(match[1]), set()).add(match[2])
        return {shard for shard, names in files.items() if names >= set(SHARD_FILES)}

    @property
    def is_complete(self) -> bool:
        """Whether the manifest is there, and so every shard."""
        return _MANIFEST in self.files


class ShardRepository:
    """
    The encoded shards in a dataset repository. Its files are those of a [`ShardFolder`] without what only workers
    need; every commit adds whole shards, on top of a state in which they were missing.

    Args:
        address (`str`): `hf://datasets/organisation/name`, or a folder in it.
        private (`bool`, *optional*): For a repository that does not exist yet.

    Raises:
        `ValueError`: If it is no such address.
    """

    def __init__(self, address: str, private: bool | None = None) -> None:
        match = _ADDRESS.fullmatch(text()("repository", address).rstrip("/"))
        folder = match["folder"] if match else None
        if match is None or ".." in (folder or "").split("/"):
            raise ValueError(
                f"repository={address!r} is no dataset repository: write hf://datasets/organisation/name, or "
                "hf://datasets/organisation/name/folder"
            )
        self.address, self.repo_id = address, match["repository"]
        self._prefix = f"{folder}/" if folder else ""
        self._private = private
        self._api = HfApi()

    def __str__(self) -> str:
        return self.address

    def open(self) -> None:
        """
        Make the repository if it is missing.

        Raises:
            `OSError`: If this user may not write to it, or the Hub does not answer.
        """
        try:
            self._api.create_repo(self.repo_id, repo_type="dataset", private=self._private, exist_ok=True)
            self._api.auth_check(self.repo_id, repo_type="dataset", write=True)
        except Exception as error:  # the errors of a connection depend on the release of huggingface_hub
            raise self._error(error) from error

    def state(self) -> RepositoryState:
        """
        What is there now.

        Raises:
            `OSError`: If the Hub does not answer for minutes, or refuses.
        """
        return self._persist(self._state)

    def read(self, name: str, state: RepositoryState) -> dict[str, Any] | None:
        """The object in a JSON file of the folder; `None` if there is no such file."""
        if name not in state.files:
            return None
        path = self.download(name, state.commit)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self}/{name} is damaged ({error}): delete it, and encode again") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self}/{name} is damaged (it holds no object): delete it, and encode again")
        return content

    def download(self, name: str, commit: str, folder: Path | None = None) -> Path:
        """
        Download a file.

        Args:
            name (`str`): Below the folder of the address.
            commit (`str`)
            folder (`Path`, *optional*): Where to put it; by default into the cache.

        Returns:
            `Path`: Of the file.
        """

        def download() -> str:
            return self._api.hf_hub_download(
                self.repo_id, f"{self._prefix}{name}", repo_type="dataset", revision=commit, local_dir=folder
            )

        return Path(self._persist(download))

    def add(
        self, files: Mapping[str, Path | bytes], message: str, is_there: Callable[[RepositoryState], bool]
    ) -> bool:
        """
        Add files in one commit, unless another machine has done so. The commit names the state that it builds on, so
        of two machines that add the same at the same time one is refused, looks again, and finds it there.

        Args:
            files (`Mapping[str, Path | bytes]`): Name below the folder of the address → content.
            message (`str`): Of the commit.
            is_there (`Callable`): Whether a state has what is to be added.

        Returns:
            `bool`: Whether this machine added them.

        Raises:
            `OSError`: If this user may not write to the repository, or the Hub does not accept the commit for minutes.
        """
        operations = [
            CommitOperationAdd(f"{self._prefix}{name}", str(content) if isinstance(content, Path) else content)
            for name, content in files.items()
        ]

        def commit() -> bool:
            state = self._state()
            if is_there(state):
                return False
            self._api.create_commit(
                self.repo_id, operations, commit_message=message, repo_type="dataset", parent_commit=state.commit
            )
            return True

        return self._persist(commit)

    def _state(self) -> RepositoryState:
        info = self._api.dataset_info(self.repo_id)
        names = [file.rfilename for file in info.siblings or ()]
        files = frozenset(name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix))
        return RepositoryState(str(info.sha), files)

    def _persist(self, request: Callable[[], Any]) -> Any:
        """Repeat a request until it succeeds, the Hub refuses it, or the patience is over."""
        end, pause = time.monotonic() + _PATIENCE, _SHORTEST_PAUSE
        while True:
            try:
                return request()
            except Exception as error:  # the errors of a connection depend on the release of huggingface_hub
                if _is_final(error) or time.monotonic() + pause > end:
                    raise self._error(error) from error
            # At random: two machines that have met once would meet again.
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _error(self, error: BaseException) -> OSError:
        status, reason = _status(error), " ".join(str(error).split())[:300]
        if status in (401, 403, 404):
            return OSError(
                f"{self}: the Hub does not let this user write there ({status}: {reason}): log in with `hf auth "
                "login`, or set HF_TOKEN to a token that may write to the repository"
            )
        return OSError(
            f"{self}: the Hub cannot be reached, or refuses ({type(error).__name__}: {reason}). Finished shards are "
            "kept: run the same again to go on"
        )


def _is_final(error: BaseException) -> bool:
    return isinstance(error, OfflineModeIsEnabled) or _status(error) in _REFUSED


def _status(error: BaseException | None) -> int | None:
    """The status of the answer that an error comes from."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None
