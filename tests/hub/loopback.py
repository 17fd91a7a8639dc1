"""A Hub on the loopback interface: the few endpoints that pushing and loading need, spoken to by the real client."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Repository = dict[str, dict[str, bytes]]  # revision → path → content


class LoopbackHub(ThreadingHTTPServer):
    """
    Keeps repositories in memory; every branch is its own commit.

    Attributes:
        repositories (`dict[str, Repository]`): By `models/org/name` or `datasets/org/name`.
        requests (`list[str]`): Method and path of what was asked.
        authorizations (`set[str]`): Of all requests.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.authorizations: set[str] = set()

    @property
    def url(self) -> str:
        """Its address, for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        path, body = self._begin()
        if path == "api/repos/create":
            asked = json.loads(body)
            owner = f"{asked['organization']}/" if asked.get("organization") else ""
            key = f"{asked.get('type', 'model')}s/{owner}{asked['name']}"
            status = 409 if key in self.server.repositories else 200
            self.server.repositories.setdefault(key, {"main": {}})
            return self._json({"url": f"{self.server.url}/{key}", "id": key.partition("/")[2]}, status)
        if path == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        _, kind, owner, name, action, revision = path.split("/", 5)
        repository = self.server.repositories[f"{kind}/{owner}/{name}"]
        if action == "branch":
            repository.setdefault(revision, dict(repository["main"]))
            return self._json({})
        if action == "preupload":
            files = json.loads(body)["files"]
            return self._json(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        for operation in map(json.loads, body.splitlines()):
            if operation["key"] == "file":
                value = operation["value"]
                repository[revision][value["path"]] = base64.b64decode(value["content"])
        commit = _commit(repository[revision])
        self._json({"commitUrl": f"{self.server.url}/{owner}/{name}/commit/{commit}", "commitOid": commit})

    def do_GET(self) -> None:
        path, _ = self._begin()
        if path.startswith("api/"):
            _, kind, owner, name, *rest = path.split("/")
            files = self._files(f"{kind}/{owner}/{name}", rest[1] if len(rest) > 1 else "main")
            if files is None:
                return None
            if rest[:1] == ["tree"]:
                return self._json(
                    [{"type": "file", "path": p, "size": len(c), "oid": _etag(c)} for p, c in files.items()]
                )
            siblings = [{"rfilename": p} for p in files]
            return self._json({"id": f"{owner}/{name}", "sha": _commit(files), "siblings": siblings, "private": False})
        kind = "datasets" if path.startswith("datasets/") else "models"
        owner, name, _, revision, file = path.removeprefix("datasets/").split("/", 4)
        files = self._files(f"{kind}/{owner}/{name}", revision)
        if files is None:
            return None
        if file not in files:
            return self._json({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _commit(files)})
        headers = {"ETag": f'"{_etag(files[file])}"', "X-Repo-Commit": _commit(files)}
        return self._send(files[file], 200, headers)

    do_HEAD = do_GET

    def _begin(self) -> tuple[str, bytes]:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.server.requests.append(f"{self.command} {path}")
        self.server.authorizations.add(self.headers.get("Authorization") or "")
        return path, self._body()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _files(self, key: str, revision: str) -> dict[str, bytes] | None:
        repository = self.server.repositories.get(key)
        if repository is None:
            return self._json({}, 404, {"X-Error-Code": "RepoNotFound"})
        by_commit = {_commit(files): files for files in repository.values()}
        found = repository.get(revision, by_commit.get(revision))
        return self._json({}, 404, {"X-Error-Code": "RevisionNotFound"}) if found is None else found

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {**(headers or {}), "Content-Type": "application/json"})

    def _send(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _commit(files: dict[str, bytes]) -> str:
    return _etag(json.dumps({path: _etag(content) for path, content in sorted(files.items())}).encode())
