"""`fetch_shards`: the shards of a repository of the Hub, brought into a folder of this machine."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

from ...checks import checked, flag, path
from ...files import atomic_folder
from .generations import latest_generation
from .layout import ShardFolder, read_json
from .manifest import Manifest
from .repository import RepositoryState, ShardRepository
from .shard import SHARD_FILES, SUMMARY_FILE

_DOWNLOADS = ".downloads"


@checked(folder=path(), show_progress=flag())
def fetch_shards(repository: str, folder: str | os.PathLike[str], show_progress: bool = True) -> Manifest:
    """
    Download what a folder lacks of a finished encoding on the Hub, so that [`merge_shards`] can make an index of it.

    Args:
        repository (`str`): As for [`encode_shards_on_hub`].
        folder (`str` or path): That this machine has encoded in, or a new one. A call that was interrupted goes on.
        show_progress (`bool`, *optional*, defaults to `True`)

    Returns:
        [`Manifest`]

    Raises:
        `FileNotFoundError`: If shards are missing in the repository.
        `ValueError`: If, where passages were split, a piece has the id of another passage.
        `OSError`: If the Hub cannot be reached, or the folder cannot be written to.
    """
    place = ShardRepository(repository)
    state = place.state()
    shards = latest_generation(Path(folder)) or ShardFolder(Path(folder) / "1")
    manifest = published_manifest(place, state, shards)
    for number, summary in enumerate(tqdm(manifest.summaries, "Fetching", disable=not show_progress)):
        target = shards.shard(number)
        if read_json(target / SUMMARY_FILE) == asdict(summary):
            continue
        # There may be one that this machine has encoded, while another machine was faster.
        shutil.rmtree(target, ignore_errors=True)
        with atomic_folder(target) as temporary:
            downloads = temporary / _DOWNLOADS
            for name in SHARD_FILES:
                file = place.download(f"shards/{target.name}/{name}", state.commit, downloads)
                os.replace(file, temporary / name)
            shutil.rmtree(downloads)
    manifest.save()
    return manifest


def published_manifest(place: ShardRepository, state: RepositoryState, folder: ShardFolder) -> Manifest:
    """
    The manifest of a repository.

    Args:
        place ([`ShardRepository`])
        state ([`RepositoryState`])
        folder ([`ShardFolder`]): Where the manifest looks for shards.

    Raises:
        `FileNotFoundError`: If there is none.
        `ValueError`: If it is damaged.
    """
    content = place.read("manifest.json", state)
    if content is None:
        raise FileNotFoundError(
            f"{place} has no manifest.json: this is no finished encoding. Run `encode_shards_on_hub`, or `onegen-hf "
            "index --shards`, to its end"
        )
    return Manifest(folder, content)
