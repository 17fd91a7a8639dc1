"""How a command ends when something goes wrong: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..checks import LoadingError
from ..terminal.characters import printable_in_terminal
from ..terminal.usage import UsageError, is_usage_error

EXPECTED = (ValueError, TypeError, OSError, ImportError, LoadingError)
"""Errors whose message says what to change; any other one is shown with its type."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT."""
LONGEST_MESSAGE = 2000


@contextmanager
def errors_in_one_line(program: str, debug: bool = False, resumable: bool = False) -> Iterator[None]:
    """
    End the process with one line instead of a traceback.

    Args:
        program (`str`): Starts the line.
        debug (`bool`, *optional*, defaults to `False`): Let the error through, with its traceback.
        resumable (`bool`, *optional*, defaults to `False`): Whether the same command continues after an interruption.

    Raises:
        `SystemExit`: With 130 after Ctrl-C, 2 for arguments that the command doesn't take, else with 1.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. Python flushes once more at its exit, which must not fail.
        _discard_output()
        sys.exit(1)
    except KeyboardInterrupt:
        if debug:
            raise
        hint = ": run the same command again to continue" if resumable else ""
        print(f"{program}: interrupted{hint}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        message = f"{program}: {describe(error)}"
        if is_usage_error(error):
            print(message, file=sys.stderr)
            raise UsageError(message) from None
        sys.exit(message)


def describe(error: BaseException) -> str:
    """An error in one line that a terminal can show."""
    message = printable_in_terminal(" ".join(str(error).split()))
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[:LONGEST_MESSAGE]} … (--debug shows all of it)"
    if _disk_is_full(error):
        return f"the disk is full: free some space, then run the command again ({message})"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return printable_in_terminal(f"{error.filename}: {error.strerror}")
    if isinstance(error, EXPECTED) and message:
        return message
    return f"{': '.join(filter(None, [type(error).__name__, message]))} (--debug shows the traceback)"


@contextmanager
def warnings_in_one_line(program: str) -> Iterator[None]:
    """Print warnings without the line of source code that raised them."""

    def one_line(message: Any, category: type[Warning], *_: Any, **__: Any) -> str:
        return f"{program}: {category.__name__}: {printable_in_terminal(' '.join(str(message).split()))}\n"

    before = warnings.formatwarning
    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


def _disk_is_full(error: BaseException | None) -> bool:
    # FAISS, torch and safetensors report it as errors of their own, with the text of the operating system at best.
    # A chain leads back to its start where a library wraps an error of ours, which is raised from that wrapper.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _discard_output() -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # standard output is no file of the operating system
        pass
