"""Rules for options that name a device, a dtype or a threshold, checked before torch is imported."""

from __future__ import annotations

import errno
import json
import math
import re
import shlex
import socket
from pathlib import Path
from typing import Any

from ..checks import Rule, number, source
from ..filters import PassageFilter
from ..hub.layout import DESCRIPTION_FILE, current_version

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""What accelerate takes instead of a device, to spread a model over several."""
RETRIEVAL_MODES = ["adaptive", "always", "never"]
"""The names in [`~onegen_hf.generation.policy.POLICIES`], which cannot be read before torch is imported."""
_DEVICE = re.compile(r"(cpu|cuda|mps|xpu|npu|hpu|mlu|musa)(:\d+)?")


def device() -> Rule:
    """The name of a device, or a way to spread a model over several."""

    def rule(name: str, value: Any) -> str:
        if not isinstance(value, str) or (value not in DEVICE_MAPS and not _DEVICE.fullmatch(value)):
            raise ValueError(f"{name}={value!r} is unknown: choose auto, cpu, cuda, cuda:0, mps, ...")
        return value

    return rule


def dtype() -> Rule:
    """The name of a floating-point type that a model can be loaded in."""

    def rule(name: str, value: Any) -> str:
        if value not in DTYPES:
            hint = ". For integer products on a CPU use --int8" if value == "int8" else ""
            raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(DTYPES)}{hint}")
        return str(value)

    return rule


def threshold() -> Rule:
    """A finite number, or `-inf` for no threshold."""

    def rule(name: str, value: Any) -> float:
        return -math.inf if value == -math.inf else number()(name, value)

    return rule


def index_source() -> Rule:
    """A directory that holds an index, a Hub repository, or a URL."""
    exists = source("build one with `onegen-hf index`, or leave it out for the model's own")

    def rule(name: str, value: Any) -> Any:
        folder = Path(exists(name, value))
        if "://" in str(value):
            check_store_url(name, str(value))
        if folder.is_dir() and not (current_version(folder) / DESCRIPTION_FILE).is_file():
            raise FileNotFoundError(
                f"{name}={value!r} holds no index: build one with `onegen-hf index --passages {shlex.quote(value)} "
                "--output-dir my-index` and name that folder, or leave it out for the model's own"
            )
        return value

    return rule


def check_store_url(name: str, value: str) -> None:
    """Refuse the URL of a store that cannot be one, before a model is loaded."""
    from ..index.stores import STORES, StoreLocation

    try:
        StoreLocation.parse(value, tuple(STORES))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def json_filter() -> Rule:
    """A filter of passages, written as JSON."""

    def rule(name: str, value: Any) -> str:
        try:
            parsed = json.loads(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{name}={value!r} is no JSON ({error}): quote the whole and its texts, as in \'{{"lang": "en"}}\''
            ) from error
        PassageFilter(parsed, name)
        return str(value)

    return rule


def require_free_port(host: str, port: int) -> None:
    """
    Check that a server can listen at a port.

    Args:
        host (`str`): Name or address of this machine.
        port (`int`): 0 for any.

    Raises:
        `OSError`: If another program listens there, or the host is none of this machine.
    """
    try:
        kind, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as server:
            # As servers do, after one that has just ended.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(f"port={port} is taken: choose another one, or 0 for a free one") from error
        raise OSError(f"host={host!r}: this machine can't listen there at port {port} ({error})") from error


def require_device(name: str) -> None:
    """
    Check that this machine has a device.

    Args:
        name (`str`): As in the option `--device`.

    Raises:
        `ValueError`: If it doesn't.
    """
    kind, _, place = name.partition(":")
    if kind == "cpu" or name in DEVICE_MAPS:
        return
    import torch

    available = torch.accelerator.is_available() and torch.accelerator.current_accelerator().type  # type: ignore
    count = torch.accelerator.device_count() if available == kind else 0
    if int(place or 0) >= count:
        which = f"{count} of {kind}" if count else f"cpu and {available}" if available else "cpu only"
        raise ValueError(f"device={name!r}: this machine has {which}. Leave out --device, or choose one that it has")
