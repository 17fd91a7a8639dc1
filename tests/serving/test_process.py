"""`onegen-hf serve` in a process of its own: signals end it as they should, and nothing on disk is written."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.forked_python import ForkedPython
from support.serving_setup import QUESTIONS, asking_pipeline

from onegen_hf.cli.main import main

KEY = "secret"
LONG = {"prompt": QUESTIONS[2], "max_tokens": 400, "retrieval": "never"}
"""Takes 140 tokens."""


@pytest.fixture(scope="module")
def checkpoint(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its index."""
    directory = tmp_path_factory.mktemp("served")
    asking_pipeline(copy.deepcopy(base_tokenizer)).save_pretrained(directory)
    return directory


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


class Process:
    """The command, once it listens."""

    def __init__(self, checkpoint: Path, *options: str) -> None:
        self.process = ForkedPython(
            "import sys; from onegen_hf.cli.main import main; main(sys.argv[1:])",
            "serve", "--model", str(checkpoint), "--port", "0", *options,
            environment={**os.environ, "ONEGEN_API_KEYS": KEY},
        )  # fmt: skip
        url = re.search(r"running on (http://[\d.:]+)", self.process.wait_until_written("running on http"))
        assert url is not None
        self.client = httpx.Client(
            base_url=url[1], headers={"Authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False
        )

    def ask(self, **body: Any) -> httpx.Response:
        return self.client.post("/v1/completions", json=body)

    def close(self) -> None:
        self.client.close()
        self.process.kill()


@pytest.fixture
def served(checkpoint: Path) -> Iterator[Process]:
    process = Process(checkpoint)
    yield process
    process.close()


def test_sigterm_finishes_what_runs(served: Process) -> None:
    whole = served.ask(**LONG).json()["choices"][0]["text"]
    body = {**LONG, "stream": True}
    with served.client.stream("POST", "/v1/completions", json=body) as response:
        lines = response.iter_lines()
        first = next(lines)
        served.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    chunks = [json.loads(line.removeprefix("data: ")) for line in [first, *rest[:-1]]]
    assert rest[-1] == "data: [DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole
    assert served.process.wait(30) in (0, -signal.SIGTERM)


def test_a_kill_breaks_connections_and_no_file(served: Process, checkpoint: Path) -> None:
    before = digests(checkpoint)
    expected = served.ask(prompt=QUESTIONS[0], max_tokens=10).json()["choices"]
    with (
        pytest.raises(httpx.TransportError),
        served.client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        served.process.kill()
        list(lines)
    assert digests(checkpoint) == before
    again = Process(checkpoint)
    try:
        assert again.ask(prompt=QUESTIONS[0], max_tokens=10).json()["choices"] == expected
    finally:
        again.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "batch_size=0 must be at least 1"),
        (["--port", "70000"], "port=70000 must be from 0 to 65535"),
        (["--linker-index", "x"], "name it with --linker"),
        (["--engine", "abacus"], "abacus"),
    ],
)
def test_options_are_checked_before_anything_is_loaded(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", *options])
    assert message in f"{end.value.code} {capsys.readouterr().err}"
