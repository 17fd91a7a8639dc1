"""What commands print on standard error: progress by default, nothing with `--quiet`, everything with `--verbose`."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

_LIBRARIES = ("TRANSFORMERS_VERBOSITY", "HF_HUB_VERBOSITY", "DATASETS_VERBOSITY")
_PROGRESS = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
_NOT_OURS = r"(?!(onegen_hf|data_builders)(\.|$))"


class Verbosity(Enum):
    """How much a command prints."""

    QUIET = "--quiet"
    NORMAL = ""
    VERBOSE = "--verbose"


@contextmanager
def verbosity(chosen: Verbosity) -> Iterator[None]:
    """
    Choose what this process prints besides results and errors. Call it before the libraries are imported, which read
    environment variables; variables that are set stay as they are.

    Args:
        chosen ([`Verbosity`]): By default, progress bars and the warnings of this package. Warnings of libraries are
            of use to programmers, and appear with `--verbose`.
    """
    variables = dict.fromkeys(_LIBRARIES, "info" if chosen is Verbosity.VERBOSE else "error")
    if chosen is Verbosity.QUIET:
        variables |= dict.fromkeys(_PROGRESS, "1")
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    logging.basicConfig(
        level=logging.INFO if chosen is Verbosity.VERBOSE else logging.ERROR,
        format="%(levelname)s %(name)s: %(message)s" if chosen is Verbosity.VERBOSE else "%(message)s",
    )
    logger = logging.getLogger("onegen_hf")
    level = logger.level
    # The Trainer decides by the level of this logger whether it shows its progress.
    progress = logging.getLogger("transformers.training_args")
    if chosen is Verbosity.NORMAL:
        logger.setLevel(logging.WARNING)
        progress.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            if chosen is Verbosity.NORMAL:
                warnings.filterwarnings("ignore", module=_NOT_OURS)
            elif chosen is Verbosity.QUIET:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        progress.setLevel(logging.NOTSET)
        for name in added:
            os.environ.pop(name, None)
