"""What goes wrong on the way: it is retried or told, the next try works, and nothing half-written is ever loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hub_faults import Fault
from support.hub_processes import TOKEN, environment, run, run_forked, start
from support.loopback import LoopbackHub

from onegen_hf import Passage, PassageIndex
from onegen_hf.index.encode import EncodedCorpus
from onegen_hf.index.fingerprint import ModelFingerprint

# Several loads in one process: a message per step, as the type of the error and its text, or what was loaded.
STEPS = """
import glob, json, os, sys
from onegen_hf import OneGenForCausalLM, PassageIndex

def attempt(load, *arguments, **options):
    try:
        return [type(load(*arguments, **options)).__name__, ""]
    except Exception as error:
        return [type(error).__name__, f"{error} {error.__cause__ or ''}"]

def truncate(repository, name):
    cached = glob.glob(f"{os.environ['HF_HOME']}/hub/{repository}/snapshots/*/{name}")
    os.truncate(os.path.realpath(cached[0]), 1000)

index, model = PassageIndex.load, OneGenForCausalLM.from_pretrained
"""


@pytest.fixture
def filled(hub: LoopbackHub, checkpoint: Path) -> LoopbackHub:
    """A Hub with a model and an index."""
    hub.add("models/org/model", checkpoint)
    hub.add("datasets/org/towns", checkpoint / "index")
    return hub


def attempts(hub: LoopbackHub, cache: Path, code: str, *arguments: str, **changed: str) -> Any:
    return json.loads(run_forked(hub, cache, f"{STEPS}\nprint(json.dumps({code}))", *arguments, **changed))


def test_what_is_missing_hidden_damaged_or_evil(filled: LoopbackHub, checkpoint: Path, tmp_path: Path) -> None:
    filled.add("datasets/org/partial", checkpoint / "index")
    del filled.repositories["datasets/org/partial"]["main"]["passages.parquet"]
    filled.add("datasets/org/evil", checkpoint / "index")
    description = json.loads((checkpoint / "index/index.json").read_text())
    description["files"]["../../secret"] = 3
    filled.repositories["datasets/org/evil"]["main"]["index.json"] = json.dumps(description).encode()
    filled.add("datasets/org/hidden", checkpoint / "index")
    filled.private.add("datasets/org/hidden")
    code = """{
        "nothing": attempt(index, "org/nothing"),
        "revision": attempt(index, "org/towns", revision="v9"),
        "model": attempt(model, "org/nothing"),
        "partial": attempt(index, "org/partial"),
        "evil": attempt(index, "org/evil"),
        "hidden": attempt(index, "org/hidden", token=False),
        "shown": attempt(index, "org/hidden"),
        "truncate": truncate("datasets--org--hidden", "index.faiss"),
        "damaged": attempt(index, "org/hidden"),
        "again": attempt(index, "org/hidden", force_download=True),
        "mended": attempt(index, "org/hidden", local_files_only=True),
    }"""
    found = attempts(filled, tmp_path / "cache", code)
    assert found["nothing"][0] == "RepositoryNotFoundError" and "org/nothing" in found["nothing"][1]
    assert found["revision"][0] == "RevisionNotFoundError" and "v9" in found["revision"][1]
    assert found["model"][0] == "OSError" and "org/nothing is not a local folder" in found["model"][1]
    assert found["partial"][0] == "FileNotFoundError" and "passages.parquet is missing: save" in found["partial"][1]
    assert found["evil"][0] == "ValueError" and "which is not beside it: don't use this index" in found["evil"][1]
    assert found["hidden"][0] == "RepositoryNotFoundError" and "401" in found["hidden"][1]
    assert found["shown"] == ["PassageIndex", ""]

    # As a full disk or a killed process can leave it: refused, and what the message says mends it.
    assert found["damaged"][0] == "ValueError"
    assert "index.faiss has 1000 bytes" in found["damaged"][1] and "force_download=True" in found["damaged"][1]
    assert found["again"] == found["mended"] == ["PassageIndex", ""]
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]


@pytest.mark.slow
def test_a_server_that_is_away(filled: LoopbackHub, tmp_path: Path) -> None:
    code = '{"index": attempt(index, "org/towns"), "model": attempt(model, "org/model")}'
    found = attempts(filled, tmp_path / "cache", code)
    asked = len(filled.requests)
    assert found == attempts(filled, tmp_path / "cache", code, HF_HUB_OFFLINE="1")
    assert len(filled.requests) == asked
    # Not told that it is offline, it finds out.
    assert found == attempts(filled, tmp_path / "cache", code, HF_ENDPOINT="http://127.0.0.1:9")
    assert found == {"index": ["PassageIndex", ""], "model": ["OneGenLlamaForCausalLM", ""]}


@pytest.mark.slow
def test_a_download_that_is_cut_goes_on(filled: LoopbackHub, tmp_path: Path) -> None:
    """From where it was, in steps of the client's 10 MiB: a file below that is asked for again."""
    rows, dimension = 3000, 2048
    embeddings = np.random.default_rng(0).normal(size=(rows, dimension)).astype(np.float32)
    encoded = EncodedCorpus(embeddings, np.arange(rows), np.zeros(rows, np.int64), truncated=0)
    fingerprint = ModelFingerprint({}, np.zeros((4, dimension), np.float32))
    passages = [Passage(f"p{row}", "", f"Passage {row}.") for row in range(rows)]
    PassageIndex.from_encoded(passages, encoded, fingerprint).save(tmp_path / "large")
    filled.add("datasets/org/large", tmp_path / "large")
    names = ("model.safetensors", "passages.parquet", "config.json", "index.json")
    filled.faults = [Fault("GET", name, cut_after=100, times=2) for name in names]
    filled.faults.append(Fault("GET", "index.faiss", cut_after=11 * 2**20))
    code = '{"index": attempt(index, "org/large"), "model": attempt(model, "org/model")}'
    found = attempts(filled, tmp_path / "cache", code)
    assert found == {"index": ["PassageIndex", ""], "model": ["OneGenLlamaForCausalLM", ""]}
    assert [fault.times for fault in filled.faults] == [0] * 5
    assert filled.ranges == [f"bytes={10 * 2**20}-"]
    cached = next((tmp_path / "cache").glob("hub/datasets--org--large/snapshots/*/index.faiss"))
    assert cached.read_bytes() == (tmp_path / "large/index.faiss").read_bytes()


@pytest.mark.slow
def test_a_download_that_never_succeeds_leaves_nothing_that_loads(filled: LoopbackHub, tmp_path: Path) -> None:
    filled.faults = [
        Fault("GET", name, status=status, times=99) for name, status in (("index.faiss", 500), (".safe", 503))
    ]
    code = '{"index": attempt(index, "org/towns"), "model": attempt(model, "org/model")}'
    found = attempts(filled, tmp_path / "cache", code)
    assert all(message for _, message in found.values()), found
    found = attempts(filled, tmp_path / "cache", code, HF_HUB_OFFLINE="1")
    assert "is incomplete" in found["index"][1] and found["model"][0] == "OSError"
    filled.faults = []
    found = attempts(filled, tmp_path / "cache", code)
    assert found == {"index": ["PassageIndex", ""], "model": ["OneGenLlamaForCausalLM", ""]}


@pytest.mark.slow
def test_a_full_disk_and_a_cache_that_is_read_only(filled: LoopbackHub, tmp_path: Path) -> None:
    limit = "__import__('resource').setrlimit(__import__('resource').RLIMIT_FSIZE, (1000, 1000))"
    code = f'[{limit}, attempt(index, "org/towns"), attempt(model, "org/model")]'
    _, index, model = attempts(filled, tmp_path / "cache", code)
    assert index[0] == model[0] == "OSError" and "File too large" in index[1] + model[1]
    for path in (tmp_path / "cache").glob("hub/*/snapshots/*/*"):
        assert not path.name.endswith((".safetensors", ".faiss")), path  # what could not be written is not there
    code = '{"index": attempt(index, "org/towns"), "model": attempt(model, "org/model")}'
    found = attempts(filled, tmp_path / "cache", code)
    assert found == {"index": ["PassageIndex", ""], "model": ["OneGenLlamaForCausalLM", ""]}
    (tmp_path / "file").write_text("where a folder should be")  # root may write into read-only folders
    found = attempts(filled, tmp_path / "file", code)
    assert all(kind in ("FileExistsError", "NotADirectoryError", "OSError") for kind, _ in found.values()), found


@pytest.mark.slow
def test_two_processes_fill_one_cache(filled: LoopbackHub, tmp_path: Path) -> None:
    code = f'{STEPS}\nprint(json.dumps([attempt(index, "org/towns"), attempt(model, "org/model")]))'
    variables = environment(filled, tmp_path / "cache")
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=variables)
        for _ in range(2)
    ]
    for process in both:
        assert json.loads(process.communicate(timeout=240)[0]) == [
            ["PassageIndex", ""],
            ["OneGenLlamaForCausalLM", ""],
        ]


PUSH = ("-m", "onegen_hf", "push", "model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("PUT", "storage/", cut_after=500), None),
        (Fault("PUT", "storage/", status=503), None),
        (Fault("POST", "/commit/", status=409), "409"),
        (Fault("POST", "/commit/", status=412), "412"),
        (Fault("POST", "/commit/", status=500), "500"),
        (Fault("POST", "/preupload/", status=403), "403"),
        (Fault("POST", "api/repos/create", status=401), "401"),
        (Fault("PUT", "storage/", status=400, times=9), "Error while uploading"),
    ],
    ids=lambda value: f"{value.path}{value.status or value.cut_after}" if isinstance(value, Fault) else None,
)
def test_an_upload_is_whole_or_not_there(
    fault: Fault, message: str | None, hub: LoopbackHub, checkpoint: Path, tmp_path: Path
) -> None:
    hub.faults = [Fault(**vars(fault))]
    pushed = start(hub, tmp_path / "cache", *PUSH, str(checkpoint), "org/model")
    assert TOKEN not in pushed.stdout + pushed.stderr
    if message is None:
        assert pushed.returncode == 0, pushed.stderr
    else:
        assert pushed.returncode != 0 and message in pushed.stderr, pushed.stderr
        assert hub.repositories.get("models/org/model", {"main": {}}) == {"main": {}}
        hub.faults = []
        run(hub, tmp_path / "cache", *PUSH, str(checkpoint), "org/model")
    files = hub.repositories["models/org/model"]["main"]
    assert files["model.safetensors"] == (checkpoint / "model.safetensors").read_bytes()
    assert files["index/index.faiss"] == (checkpoint / "index/index.faiss").read_bytes()
