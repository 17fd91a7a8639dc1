"""What `push_to_hub` of model, tokenizer, index, pipeline and trainer pushes is the same where it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.asking import ASK, answers
from support.hub_processes import TOKEN, run
from support.loopback import LoopbackHub

pytestmark = pytest.mark.slow

PUSH = """
import sys
from transformers import pipeline
from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.modeling import load_tokenizer

checkpoint = sys.argv[1]
tokenizer, index = load_tokenizer(checkpoint), PassageIndex.load(f"{checkpoint}/index")
model = OneGenForCausalLM.from_pretrained(checkpoint)
rag = pipeline("onegen-rag", model=checkpoint)
rag.push_to_hub("org/whole", private=True)
index.push_to_hub("org/towns", commit_message="Twelve towns")
model.onegen_config.default_index = "org/towns"
model.set_onegen_config(model.onegen_config)
model.push_to_hub("org/parts")
tokenizer.push_to_hub("org/parts")
model.save_pretrained(f"{checkpoint}-2", push_to_hub=True, repo_id="org/saved", private=True, revision="v2")
tokenizer.push_to_hub("org/saved", revision="v2")
"""
LOAD = """
import onegen_hf
found = {
    "whole": ask(pipeline("onegen-rag", model="org/whole")),
    "parts": ask(pipeline("onegen-rag", model="org/parts")),
    "saved": ask(pipeline("onegen-rag", model="org/saved", revision="v2")),
}
print(json.dumps(found))
"""
TRAIN = """
import json, sys
from pathlib import Path
from datasets import Dataset
from transformers import pipeline
from onegen_hf import OneGenForCausalLM, OneGenTrainer, OneGenTrainingArguments
from onegen_hf.modeling import load_tokenizer

checkpoint, run = sys.argv[1:3]
records = json.loads(Path(sys.argv[3]).read_text())
args = OneGenTrainingArguments(
    run, use_cpu=True, report_to=[], max_steps=2, save_steps=1, hub_model_id="org/trained", push_to_hub=True,
    hub_token=sys.argv[4], disable_tqdm=True,
)
model, tokenizer = OneGenForCausalLM.from_pretrained(checkpoint), load_tokenizer(checkpoint)
trainer = OneGenTrainer(
    model=model, args=args, train_dataset=Dataset.from_list(records["examples"]), documents=records["documents"],
    processing_class=tokenizer,
)
trainer.train()
trainer.push_to_hub()
"""
LOAD_TRAINED = """
from transformers import AutoModel
assert "onegen_hf" not in sys.modules
AutoModel.from_pretrained("org/trained")
from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling import load_tokenizer
model = OneGenForCausalLM.from_pretrained("org/trained")
local = OneGenForCausalLM.from_pretrained(sys.argv[1])
assert all((value == local.state_dict()[name]).all() for name, value in model.state_dict().items())
model.check_tokenizer(load_tokenizer("org/trained"))
"""


def test_by_the_objects(hub: LoopbackHub, checkpoint: Path, tmp_path: Path) -> None:
    expected = answers(checkpoint)
    run(hub, tmp_path / "pusher", "-c", PUSH, str(checkpoint))
    assert hub.private == {"models/org/whole", "models/org/saved"}
    whole = hub.repositories["models/org/whole"]["main"]
    assert {"index/index.faiss", "index/index.json", "index/passages.parquet", "modeling_onegen.py"} <= set(whole)
    assert not any(path.endswith(".py") and path != "modeling_onegen.py" for path in whole)
    assert b'pipeline("onegen-rag", model="org/whole")' in whole["README.md"]
    assert b"custom_pipelines" not in whole["config.json"] and str(tmp_path).encode() not in whole["config.json"]
    assert set(hub.repositories["models/org/saved"]["main"]) == set()
    found = json.loads(run(hub, tmp_path / "loader", "-c", ASK + LOAD))
    assert found == {"whole": expected, "parts": expected, "saved": expected}


def test_by_the_trainer(hub: LoopbackHub, checkpoint: Path, documents: Any, examples: Any, tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text(json.dumps({"examples": examples, "documents": documents}))
    arguments = (str(checkpoint), str(tmp_path / "run"), str(tmp_path / "records.json"), TOKEN)
    run(hub, tmp_path / "pusher", "-c", TRAIN, *arguments, HF_TOKEN="")
    files = hub.repositories["models/org/trained"]["main"]
    assert not any(path.endswith((".bin", ".pt", ".pth", ".pkl")) for path in files), sorted(files)
    assert not any(TOKEN.encode() in content for content in files.values())
    assert not [p for p in (tmp_path / "run").rglob("*") if p.is_file() and TOKEN.encode() in p.read_bytes()]
    run(hub, tmp_path / "loader", "-c", ASK + LOAD_TRAINED, str(tmp_path / "run"))
