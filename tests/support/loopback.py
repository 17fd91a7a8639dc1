"""A Hub on the loopback interface: the endpoints that pushing and loading need, spoken to by the real client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.hub_faults import Fault

Repository = dict[str, dict[str, bytes]]  # revision → path → content
LFS_SUFFIXES = (".safetensors", ".faiss", ".parquet")


class LoopbackHub(ThreadingHTTPServer):
    """
    Keeps repositories in memory; large files go through LFS (basic transfer), so a client needs HF_HUB_DISABLE_XET=1.

    Attributes:
        repositories (`dict[str, Repository]`): By `models/org/name` or `datasets/org/name`; commits are revisions too.
        private (`set[str]`): Those that ask for a token.
        readers (`set[str]`): Tokens that may read and not write.
        objects (`dict[str, bytes]`): What LFS stored, by SHA-256.
        faults (`list[Fault]`): What goes wrong.
        requests (`list[str]`): Method and path of what was asked.
        ranges (`list[str]`): `Range` headers of what was asked.
        sent (`Counter[str]`): Bytes of the bodies that were sent, by path.
        authorizations (`set[str]`): Of all requests but those to the storage of LFS, which get none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.private: set[str] = set()
        self.readers: set[str] = set()
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.sent: Counter[str] = Counter()
        self.authorizations: set[str] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address, for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, key: str, directory: Path) -> None:
        """Make a repository of a directory."""
        files = {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
        self.repositories[key] = {"main": files}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed or cut off is part of the tests."""


@contextmanager
def running_hub() -> Iterator[LoopbackHub]:
    """A Hub that answers until the end of the block."""
    server = LoopbackHub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answered(Exception):
    """The request needs nothing more."""


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are sent apart, and the body would wait 40 ms
    _cut_after: int | None = None

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle(self._api_get, self._resolve)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._handle(self._api_post, self._lfs_batch)

    def do_PUT(self) -> None:
        self._handle(self._no_such_page, self._lfs_store)

    def _handle(self, api: Any, other: Any) -> None:
        self._cut_after = None
        path = unquote(urlsplit(self.path).path).lstrip("/")
        with self.server.lock:
            self.server.requests.append(f"{self.command} {path}")
            if "Range" in self.headers:
                self.server.ranges.append(self.headers["Range"])
            if self.command != "PUT":
                self.server.authorizations.add(self.headers.get("Authorization") or "")
            fault = next((f for f in self.server.faults if f.strikes(self.command, path)), None)
        if fault is not None and fault.cut_after is not None:
            self._cut_after = fault.cut_after
            if self.command in ("PUT", "POST"):
                self.rfile.read(fault.cut_after)
                self.close_connection = True
                return
        body = self._body()
        try:
            if fault is not None and fault.status is not None:
                self._json({"error": "made for a test"}, fault.status, {"X-Error-Code": fault.error or ""})
                return
            (api if path.startswith("api/") else other)(path, body)
        except _Answered:
            pass

    def _api_post(self, path: str, body: bytes) -> None:
        if path == "api/repos/create":
            self._require_writer()
            asked = json.loads(body)
            owner = f"{asked['organization']}/" if asked.get("organization") else "someone/"
            key = f"{asked.get('type') or 'model'}s/{owner}{asked['name']}"
            status = 409 if key in self.server.repositories else 200
            self.server.repositories.setdefault(key, {"main": {}})
            if asked.get("visibility") == "private" or asked.get("private"):
                self.server.private.add(key)
            return self._json({"url": f"{self.server.url}/{key.removeprefix('models/')}", "id": key}, status)
        if path == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        _, kind, owner, name, action, revision = path.split("/", 5)
        repository = self._repository(f"{kind}/{owner}/{name}")
        if action == "branch":
            repository.setdefault(revision, dict(repository["main"]))
            return self._json({})
        files = self._files(f"{kind}/{owner}/{name}", revision)
        if action == "preupload":
            return self._json({"files": [_upload_mode(f["path"]) for f in json.loads(body)["files"]]})
        if action == "paths-info":
            paths = parse_qs(body.decode()).get("paths", [])
            return self._json(_entries(files, lambda path: path in paths))
        return self._commit(f"{kind}/{owner}/{name}", revision, [json.loads(line) for line in body.splitlines()])

    def _commit(self, key: str, revision: str, operations: list[dict[str, Any]]) -> None:
        self._require_writer()
        parent = next((o["value"].get("parentCommit") for o in operations if o["key"] == "header"), None)
        with self.server.lock:
            repository = self.server.repositories[key]
            files = dict(repository[revision])
            is_current = parent in (None, commit_hash(files))
            for operation in operations if is_current else ():
                value = operation["value"]
                if operation["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif operation["key"] == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
                elif operation["key"] == "deletedFile":
                    files.pop(value["path"], None)
            commit = commit_hash(files)
            repository[revision] = files
            repository[commit] = dict(files)
        if not is_current:
            self._stop(412, "PreconditionFailed")
        self._json({"commitUrl": f"{self.server.url}/{key}/commit/{commit}", "commitOid": commit})

    def _api_get(self, path: str, body: bytes) -> None:
        if path == "api/whoami-v2":
            return self._json({"type": "user", "name": "someone", "orgs": []})
        _, kind, owner, name, *rest = path.split("/")
        checks = rest[:1] == ["auth-check"]
        files = self._files(f"{kind}/{owner}/{name}", rest[1] if len(rest) > 1 and not checks else "main")
        if checks:
            if rest[1:] == ["write"]:
                self._require_writer()
            return self._json({})
        if rest[:1] == ["tree"]:
            below = "".join(f"{part}/" for part in rest[2:])
            deep = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
            found = _entries(files, lambda p: p.startswith(below) and (deep or "/" not in p.removeprefix(below)))
            if below and not found:
                return self._json({}, 404, {"X-Error-Code": "EntryNotFound"})
            return self._json(found)
        siblings = [{"rfilename": p} for p in files]
        private = f"{kind}/{owner}/{name}" in self.server.private
        about = {"id": f"{owner}/{name}", "sha": commit_hash(files), "siblings": siblings, "private": private}
        return self._json({**about, "tags": [], "downloads": 0})

    def _resolve(self, path: str, body: bytes) -> None:
        kind = "datasets" if path.startswith("datasets/") else "models"
        owner, name, _, revision, file = path.removeprefix("datasets/").split("/", 4)
        files = self._files(f"{kind}/{owner}/{name}", revision)
        commit = {"X-Repo-Commit": commit_hash(files)}
        if file not in files:
            return self._json({}, 404, {"X-Error-Code": "EntryNotFound", **commit})
        content, headers = files[file], {**commit, "Accept-Ranges": "bytes", "ETag": f'"{_etag(file, files[file])}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return self._send(content, 200, headers)
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self._send(content[start : end + 1], 206, headers)

    def _lfs_batch(self, path: str, body: bytes) -> None:
        objects = []
        for item in json.loads(body)["objects"]:
            action = {"actions": {"upload": {"href": f"{self.server.url}/storage/{item['oid']}", "header": {}}}}
            objects.append({**item, **({} if item["oid"] in self.server.objects else action)})
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_store(self, path: str, body: bytes) -> None:
        expected = path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != expected:
            return self._json({"error": "the content is not the announced one"}, 400)
        self.server.objects[expected] = body
        return self._json({})

    def _no_such_page(self, path: str, body: bytes) -> None:
        self._json({}, 404)

    def _repository(self, key: str) -> Repository:
        if key in self.server.private and not self.headers.get("Authorization"):
            self._stop(401, "RepoNotFound")
        if key not in self.server.repositories:
            self._stop(404, "RepoNotFound")
        return self.server.repositories[key]

    def _files(self, key: str, revision: str) -> dict[str, bytes]:
        repository = self._repository(key)
        by_commit = {commit_hash(files): files for files in repository.values()}
        if revision not in repository and revision not in by_commit:
            self._stop(404, "RevisionNotFound")
        return repository.get(revision) or by_commit.get(revision) or {}

    def _require_writer(self) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not token:
            self._stop(401, "RepoNotFound")
        if token in self.server.readers:
            self._stop(403, "")

    def _stop(self, status: int, error: str) -> None:
        self._json({}, status, {"X-Error-Code": error})
        raise _Answered

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {**(headers or {}), "Content-Type": "application/json"})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with self.server.lock:
            self.server.sent[unquote(urlsplit(self.path).path).lstrip("/")] += len(content[: self._cut_after])
        self.wfile.write(content[: self._cut_after])
        if self._cut_after is not None:
            self.close_connection = True


def _upload_mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(LFS_SUFFIXES) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False}


def _entries(files: dict[str, bytes], wanted: Any) -> list[dict[str, Any]]:
    folders = {parent for path in files for parent in _parents(path)}
    found: list[dict[str, Any]] = [
        {"type": "directory", "path": p, "oid": hashlib.sha1(p.encode()).hexdigest()} for p in folders if wanted(p)
    ]
    for path, content in files.items():
        if wanted(path):
            entry = {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content)}
            if path.endswith(LFS_SUFFIXES):
                entry["lfs"] = {"oid": _etag(path, content), "size": len(content), "pointerSize": 130}
            found.append(entry)
    return found


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _etag(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if path.endswith(LFS_SUFFIXES) else _git_hash(content)


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def commit_hash(files: dict[str, bytes]) -> str:
    return _git_hash(json.dumps({path: _git_hash(content) for path, content in sorted(files.items())}).encode())
