"""Servers that a page starts, and that answer while the page is read."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Protocol

START_SECONDS = 600
STOP_SECONDS = 30


class ServerBlock(Protocol):
    """A block of shell that starts a server."""

    code: str
    server: str | None


@contextmanager
def running_servers(
    blocks: Sequence[ServerBlock], directory: Path, environment: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """
    Start servers, and stop them at the end.

    Args:
        blocks (`Sequence[ServerBlock]`)
        directory (`Path`): Where they run; what they print goes to files there.
        environment (`Mapping[str, str]`)

    Returns:
        `dict[str, str]`: Port on the page → the free port that stands for it.

    Raises:
        `RuntimeError`: If one ends, or does not listen in time.
    """
    with ExitStack() as stack:
        ports = {str(block.server): str(_free_port()) for block in blocks}
        for block in blocks:
            stack.enter_context(_running(block, ports, directory, environment))
        yield ports


def with_ports(code: str, ports: Mapping[str, str]) -> str:
    """A block's code with the ports that are really taken."""
    for written, taken in ports.items():
        code = code.replace(written, taken)
    return code


@contextmanager
def _running(
    block: ServerBlock, ports: Mapping[str, str], directory: Path, environment: Mapping[str, str]
) -> Iterator[None]:
    port = ports[str(block.server)]
    *before, command = with_ports(block.code, ports).strip().splitlines()
    script = "\n".join(["set -e", *before, f"exec env {command}"])  # so that a signal reaches the server itself
    log = directory / f"server-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=directory, env=dict(environment), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not _listens(int(port)):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command}: it does not listen at {port}: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
