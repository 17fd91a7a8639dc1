"""Pushed by one process, loaded by others with empty caches: the same answers, scores and passages, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.asking import ASK, answers
from support.hub_processes import TOKEN, run, run_forked
from support.loopback import LoopbackHub, commit_hash
from support.tiny_models import tiny_model

from onegen_hf import OneGenConfig, PassageIndex

PUSH = """
import json, sys
from onegen_hf.cli.main import main

for arguments in json.loads(sys.argv[1]):
    main(["push", *arguments])
"""
FOUR_WAYS = """
from transformers import AutoModel, AutoModelForCausalLM
plain = AutoModel.from_pretrained("org/model")
assert "onegen_hf" not in sys.modules and type(plain).__name__ == "LlamaModel"
assert type(AutoModelForCausalLM.from_pretrained("org/model")).__name__ == "LlamaForCausalLM"
try:
    pipeline("onegen-rag", model="org/model")
    raise SystemExit("the task must not be known yet")
except KeyError:
    pass
trusted = AutoModelForCausalLM.from_pretrained("org/model", trust_remote_code=True)
assert type(AutoModel.from_pretrained("org/model", trust_remote_code=True)).__name__ == "LlamaModel"
remote = ask(pipeline("onegen-rag", model="org/model", trust_remote_code=True))

import onegen_hf
from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.modeling import load_tokenizer
assert isinstance(trusted, OneGenForCausalLM) and type(trusted.config).__name__ == "LlamaConfig"
assert type(OneGenForCausalLM.from_pretrained("org/model")) is type(trusted)
imported = ask(pipeline("onegen-rag", model="org/model"))
index = PassageIndex.load("org/towns", revision="trial")
built = PassageIndex.build(trusted, load_tokenizer("org/model"), ["Tin Boat is a film."], show_progress=False)
origin = trusted.origin
assert (built.model_id, built.revision) == (origin.repository, origin.commit) == ("org/model", sys.argv[1])
given = ask(pipeline("onegen-rag", model="org/model", index="org/towns-main"))
print(json.dumps({"remote": remote, "imported": imported, "given": given, "passages": len(index)}))
"""


@pytest.mark.slow
def test_model_and_index_four_ways(hub: LoopbackHub, checkpoint: Path, tmp_path: Path) -> None:
    expected = answers(checkpoint)
    pushes = [
        ["model", str(checkpoint), "org/model"],
        ["index", str(checkpoint / "index"), "org/towns", "--revision", "trial"],
        ["index", str(checkpoint / "index"), "org/towns-main"],
    ]
    run(hub, tmp_path / "pusher", "-c", PUSH, json.dumps(pushes))
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    assert hub.repositories["datasets/org/towns"]["main"] == {}
    assert any(request.startswith("PUT storage/") for request in hub.requests)
    hub.repositories["datasets/org/towns"]["trial"]["notes.bin"] = b"not needed"

    commit = next(revision for revision in hub.repositories["models/org/model"] if revision != "main")
    found = json.loads(run(hub, tmp_path / "loader", "-c", ASK + FOUR_WAYS, commit))
    assert found == {"remote": expected, "imported": expected, "given": expected, "passages": 12}
    assert not any("notes.bin" in request for request in hub.requests)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]


PINNED = """
import sys
if sys.argv[1] == "imported":
    import onegen_hf
options = {"trust_remote_code": True} if sys.argv[1] == "remote" else {}
print(json.dumps([ask(pipeline("onegen-rag", model="org/model", revision=r, **options)) for r in sys.argv[2:]]))
"""


@pytest.mark.parametrize("way", ["imported", pytest.param("remote", marks=pytest.mark.slow)])
def test_the_index_is_of_the_commit_of_the_model(
    way: str, hub: LoopbackHub, checkpoint: Path, tokenizer: Any, documents: Any, tmp_path: Path
) -> None:
    """Also when the main branch has gone on to other weights and other passages."""
    expected = answers(checkpoint)
    hub.add("models/org/model", checkpoint)
    repository = hub.repositories["models/org/model"]
    repository["v1"] = repository.pop("main")
    newer = tiny_model(tokenizer, onegen_config=OneGenConfig(default_index="./index"), seed=5)
    newer.save_pretrained(tmp_path / "newer")
    tokenizer.save_pretrained(tmp_path / "newer")
    PassageIndex.build(newer, tokenizer, documents[:5], show_progress=False).save(tmp_path / "newer/index")
    hub.add("models/org/model", tmp_path / "newer")
    hub.repositories["models/org/model"]["v1"] = repository["v1"]
    commit = commit_hash(repository["v1"])
    arguments = [ASK + PINNED, way, "v1", commit, "main"]
    if way == "imported":
        found = json.loads(run_forked(hub, tmp_path / "loader", *arguments))
    else:
        found = json.loads(run(hub, tmp_path / "loader", "-c", *arguments))
    assert found == [expected, expected, answers(tmp_path / "newer")]


PRIVATE = """
import onegen_hf
token, cache, location = sys.argv[1:]
options = {} if location == "given" else {"index": "org/towns"}
rag = pipeline("onegen-rag", model="org/model", token=token, model_kwargs={"cache_dir": cache}, **options)
print(json.dumps(ask(rag)))
"""


@pytest.mark.parametrize("location", ["given", pytest.param("elsewhere", marks=pytest.mark.slow)])
def test_token_and_cache_of_the_model_reach_the_index(
    location: str, hub: LoopbackHub, checkpoint: Path, tmp_path: Path
) -> None:
    hub.add("models/org/model", checkpoint)
    hub.add("datasets/org/towns", checkpoint / "index")
    hub.private |= set(hub.repositories)
    arguments = [TOKEN, str(tmp_path / "cache"), location]
    found = json.loads(run_forked(hub, tmp_path / "loader", ASK + PRIVATE, *arguments, HF_TOKEN=""))
    assert found == answers(checkpoint)
    assert list((tmp_path / "cache").rglob("index.faiss")) and not list((tmp_path / "loader").rglob("index.faiss"))
