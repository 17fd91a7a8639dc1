"""Pushed by one process, loaded by another one with an empty cache, over the real client and a loopback Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback import LoopbackHub
from tiny_models import tiny_model

from onegen_hf import PassageIndex

LOAD = """
import json, sys
import numpy as np
from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.auto import load_tokenizer
from onegen_hf.pipelines.checkpoint import default_index

model = OneGenForCausalLM.from_pretrained("org/model")
index = PassageIndex.load("org/towns", revision="trial")
index.check_model(model, load_tokenizer("org/model"))
beside = PassageIndex.load(default_index(model))
queries = np.random.default_rng(0).normal(size=(3, index.dimension)).astype(np.float32)
scores, rows = index.search(queries, 3)
ids = [[index[r].id for r in row] for row in rows]
print(json.dumps({"scores": scores.tolist(), "ids": ids, "beside": len(beside)}))
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    server = LoopbackHub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def start(hub: LoopbackHub, cache: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A process that knows nothing but the Hub's address and a token."""
    changed = {
        "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_TOKEN": "hf_secret",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    environment = {**os.environ, **changed}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, timeout=120)


def test_model_and_index(hub: LoopbackHub, tokenizer: Any, documents: Any, tmp_path: Path) -> None:
    model = tiny_model(tokenizer)
    model.onegen_config.default_index = "./index"
    model.set_onegen_config(model.onegen_config)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    index = PassageIndex.build(model, tokenizer, documents, show_progress=False, model_id="org/model")
    index.save(tmp_path / "model" / "index")
    push = ("-m", "onegen_hf", "push")
    for arguments in (
        ("model", str(tmp_path / "model"), "org/model"),
        ("index", str(tmp_path / "model" / "index"), "org/towns", "--revision", "trial"),
    ):
        pushed = start(hub, tmp_path / "pusher", *push, *arguments)
        assert pushed.returncode == 0, pushed.stderr
        assert "hf_secret" not in pushed.stdout + pushed.stderr
    assert hub.authorizations == {"Bearer hf_secret"}
    assert hub.repositories["datasets/org/towns"]["main"] == {}
    hub.repositories["datasets/org/towns"]["trial"]["notes.bin"] = b"not needed"

    loaded = start(hub, tmp_path / "loader", "-c", LOAD)
    assert loaded.returncode == 0, loaded.stderr
    queries = np.random.default_rng(0).normal(size=(3, index.dimension)).astype(np.float32)
    scores, rows = index.search(queries, 3)
    expected = {"scores": scores.tolist(), "ids": [[index[r].id for r in row] for row in rows], "beside": len(index)}
    assert json.loads(loaded.stdout) == expected
    assert not any("notes.bin" in request for request in hub.requests)


def test_faults_are_told_in_a_line(hub: LoopbackHub, tmp_path: Path) -> None:
    code = "from onegen_hf import PassageIndex\nPassageIndex.load('org/nothing')"
    found = start(hub, tmp_path, "-c", code)
    assert found.returncode != 0 and "RepositoryNotFoundError" in found.stderr and "hf_secret" not in found.stderr
