"""What the other processes of a training say when one of them is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from .resuming import checkpoints_in

_SIGNS = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|Timed out waiting|remote process has exited"
    r"|NCCL (communicator|error)"
    r"|ncclRemoteError|Read timeout|Application timeout|Socket.*(closed|reset)",
    re.IGNORECASE,
)
"""Of gloo's and NCCL's errors, which speak of sockets."""


class ProcessLostError(RuntimeError):
    """Another process of a training ended or does not answer, so this one can't go on."""


@contextmanager
def lost_process_explained(output_dir: str | os.PathLike[str], processes: int) -> Iterator[None]:
    """
    Turn errors of the connection between processes into one that says what happened and what to do.

    Args:
        output_dir (`str` or path): Of the training.
        processes (`int`): Of the training; nothing is done for one.

    Raises:
        [`ProcessLostError`]
    """
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or not _SIGNS.search(str(error)):
            raise
        folders = checkpoints_in(output_dir)
        later = (
            f"goes on from the last whole checkpoint there ({folders[-1].name} or the one before)"
            if folders
            else "starts afresh, as there is no checkpoint yet"
        )
        raise ProcessLostError(
            f"another of the {processes} processes of this training ended or does not answer; its own output says "
            f"why. Nothing in {output_dir} is damaged: the same command {later}"
        ) from error
