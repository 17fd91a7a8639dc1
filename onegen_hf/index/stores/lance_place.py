"""Where a Lance dataset lies: in a local folder, or in a dataset repository of the Hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetInfo, HfApi, get_token

from .location import StoreLocation


class LanceFolder:
    """
    A local folder, always in its newest version.

    Args:
        path (`Path`): Ends with `.lance`.
    """

    read_only = False

    def __init__(self, path: Path) -> None:
        import lance

        self.path = path
        self._session = lance.Session()  # keeps what is read of the files

    def exists(self) -> bool:
        return self.path.is_dir()

    def open(self) -> Any:
        import lance

        return lance.dataset(str(self.path), session=self._session)

    def drop(self) -> None:
        """Delete the dataset."""
        shutil.rmtree(self.path)


class LanceRepository:
    """
    A folder of a dataset repository, in the commit that was current when it was opened. Lance reads the parts of the
    files that a search needs, by HTTP range requests; nothing is downloaded as a whole or kept on disk.

    Args:
        location ([`StoreLocation`]): Of the scheme `hf`.

    Raises:
        `ValueError`: If the URL names no dataset repository.
        `OSError`: If the Hub does not answer, or has no such repository for this token.
    """

    read_only = True

    def __init__(self, location: StoreLocation) -> None:
        owner, _, rest = location.database.partition("/")
        repository, *folders = rest.split("/")
        name, _, revision = repository.partition("@")
        if location.host != "datasets" or not owner or not name:
            raise ValueError(
                f"{location} names no dataset repository: write hf://datasets/organisation/name/{location.name}.lance"
            )
        info = _info(f"{owner}/{name}", revision or None, location.timeout())
        path = "/".join([*folders, f"{location.name}.lance"])
        self._uri = f"hf://datasets/{owner}/{name}/{path}"
        self._exists = any(file.rfilename.startswith(f"{path}/_versions/") for file in info.siblings or ())
        token = get_token()
        self._options = {"hf_revision": str(info.sha), **({"hf_token": token} if token else {})}
        self._dataset: Any = None

    def exists(self) -> bool:
        return self._exists

    def open(self) -> Any:
        import lance

        if self._dataset is None:
            self._dataset = lance.dataset(self._uri, storage_options=self._options)
        return self._dataset


def _info(repository: str, revision: str | None, seconds: float) -> DatasetInfo:
    try:
        return HfApi().dataset_info(repository, revision=revision, timeout=seconds)
    except Exception as error:  # the errors of a connection depend on the release of huggingface_hub
        raise OSError(f"{type(error).__name__}: {error}") from error


def place_of(location: StoreLocation) -> LanceFolder | LanceRepository:
    """
    The place that a URL means.

    Raises:
        `ValueError`: If Lance datasets cannot be there.
    """
    if location.scheme == "hf":
        return LanceRepository(location)
    if location.folder is None:
        raise ValueError(
            f"{location}: lance:// is a local folder: write lance://./folder/{location.name}, or "
            f"hf://datasets/organisation/name/{location.name}.lance for a repository of the Hub"
        )
    return LanceFolder(Path(location.folder) / f"{location.name}.lance")


def files_of(dataset: Any, root: Path) -> list[str]:
    """
    The files of a local dataset that its newest version consists of: what older versions need is left out.

    Args:
        dataset (`lance.LanceDataset`)
        root (`Path`): Its folder.

    Returns:
        `list[str]`: Relative to the folder, with `/`.
    """
    number = dataset.version
    names = {f"_versions/{2**64 - 1 - number}.manifest", f"_versions/{number}.manifest"}
    names.add("_versions/latest_version_hint.json")
    for fragment in dataset.get_fragments():
        names |= {f"data/{file.path}" for file in fragment.data_files()}
        deletions = fragment.deletion_file()
        names |= {deletions} if deletions else set()
    indices = [f"_indices/{index['uuid']}/" for index in dataset.list_indices()]
    every = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in every if name in names or name.startswith(tuple(indices)))
