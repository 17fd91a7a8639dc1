"""Pushed by one process, loaded by others with empty caches: the same answers, scores and passages, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

from asking import ASK, answers
from loopback import LoopbackHub
from processes import TOKEN, run

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
assert isinstance(trusted, OneGenForCausalLM) and type(trusted.config).__name__ == "LlamaConfig"
assert type(OneGenForCausalLM.from_pretrained("org/model")) is type(trusted)
imported = ask(pipeline("onegen-rag", model="org/model"))
index = PassageIndex.load("org/towns", revision="trial")
given = ask(pipeline("onegen-rag", model="org/model", index="org/towns-main"))
print(json.dumps({"remote": remote, "imported": imported, "given": given, "passages": len(index)}))
"""


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

    found = json.loads(run(hub, tmp_path / "loader", "-c", ASK + FOUR_WAYS))
    assert found == {"remote": expected, "imported": expected, "given": expected, "passages": 12}
    assert not any("notes.bin" in request for request in hub.requests)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
