"""What would be pushed: the files, the card, and what is refused because a colleague could not use it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import DatasetCard, ModelCard
from peft import LoraConfig
from support.hub_processes import run
from support.loopback import LoopbackHub
from support.tiny_models import tiny_backbone, tiny_model

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.cli.check_reports import check_reports
from onegen_hf.cli.main import main
from onegen_hf.evaluation.report import Estimate, EvaluationReport, GroupResult, RunResult
from onegen_hf.evaluation.runs.settings import model_settings
from onegen_hf.hub import commit, dataset_upload, index_upload, model_upload
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.training.trainer import add_adapter


@pytest.fixture
def saved(tokenizer: Any, documents: Any, tmp_path: Path) -> Path:
    """A checkpoint with an index beside its weights, and what must not be pushed."""
    path, model = tmp_path / "saved", tiny_model(tokenizer)
    model.onegen_config.default_index = "./index"
    model.set_onegen_config(model.onegen_config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    index = PassageIndex.build(model, tokenizer, documents, show_progress=False, model_id="org/model", revision="v1")
    index.save(path / "index")
    for name in ("training_args.bin", "optimizer.pt", ".env", "notes.txt", "checkpoint-1/model.safetensors"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("private")
    return path


def test_model(saved: Path) -> None:
    found = model_upload(saved, "org/model")
    assert (found.repo_type, found.repo_id) == ("model", "org/model")
    assert set(found.files) == {
        "config.json", "generation_config.json", "model.safetensors", "modeling_onegen.py", "chat_template.jinja",
        "tokenizer.json", "tokenizer_config.json", "index/index.faiss", "index/index.json", "index/passages.parquet",
    }  # fmt: skip
    assert 'model="org/model")' in str(found.card)
    assert "model.safetensors" in found.describe() and "README.md" in found.describe()


@pytest.mark.parametrize("location", ["{root}/index", "{root}"])
def test_default_index_of_this_machine(saved: Path, location: str) -> None:
    _change(saved / "config.json", lambda c: c["onegen"].update(default_index=location.format(root=saved)))
    with pytest.raises(ValueError, match="a directory of this machine: name a repository"):
        model_upload(saved, "org/model")


def test_default_index_in_another_folder_goes_along(saved: Path) -> None:
    (saved / "index").rename(saved / "towns")
    _change(saved / "config.json", lambda c: c["onegen"].update(default_index="./towns/"))
    found = model_upload(saved, "org/model")
    assert {"towns/index.faiss", "towns/index.json", "towns/passages.parquet"} <= set(found.files)


def test_default_index_that_leads_out(saved: Path) -> None:
    _change(saved / "config.json", lambda c: c["onegen"].update(default_index="./../towns"))
    with pytest.raises(ValueError, match="leads out of"):
        model_upload(saved, "org/model")


def test_default_index_that_is_missing(saved: Path) -> None:
    (saved / "index/index.json").unlink()
    with pytest.raises(FileNotFoundError, match="save the default index there"):
        model_upload(saved, "org/model")


def test_adapter_of_a_local_base(saved: Path) -> None:
    adapter = {"base_model_name_or_path": str(saved), "r": 4, "lora_alpha": 8}
    (saved / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(ValueError, match="of this machine: push it merged"):
        model_upload(saved, "org/model")


def test_no_model(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.json is missing: save the model"):
        model_upload(tmp_path, "org/model")
    tiny_backbone().save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="has no 'onegen' section"):
        model_upload(tmp_path / "plain", "org/model")
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no weights"):
        model_upload(saved, "org/model")


def write_report(checkpoint: Path, directory: Path, dataset: str = "org/data", **changes: Any) -> str:
    """What `onegen-hf evaluate` leaves of a checkpoint, with scores made up."""
    model = OneGenForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    settings = {"k": 1, "model": {**model_settings(model, load_tokenizer(checkpoint)), **changes}}
    group = GroupResult(40, 80, {"recall@1": Estimate(0.91234, 0.85, 0.96), "em": Estimate(0.5, 0.4, 0.6)})
    report = EvaluationReport("rag", "org/model", dataset, "dev", 0.95, settings, {"retrieved": RunResult(group)})
    directory.mkdir(exist_ok=True)
    (directory / "report.json").write_text(report.to_json())
    (directory / "model-index.yaml").write_text(report.model_index())
    return str(directory)


def test_scores_stand_in_the_card_with_their_intervals(saved: Path, tmp_path: Path) -> None:
    data = tmp_path / "our-data"
    data.mkdir()
    report = write_report(saved, tmp_path / "report", str(data))
    card = model_upload(saved, "org/model", [report]).card
    assert "| recall@1 | 0.9123 | 0.8500 | 0.9600 |" in str(card) and "40 examples, 80 hops; 95 %" in str(card)
    assert "rag on our-data (dev)" in str(card) and str(tmp_path) not in str(card)
    entries = ModelCard(str(card)).data.eval_results
    assert {e.metric_type: e.metric_value for e in entries} == {"recall@1": 0.9123, "em": 0.5}
    assert {(e.dataset_name, e.dataset_split) for e in entries} == {("our-data", "dev")}
    assert entries[0].metric_args == {"confidence_interval": [0.85, 0.96], "level": 0.95}
    with pytest.raises(FileNotFoundError, match="finished `onegen-hf evaluate`"):
        model_upload(saved, "org/model", [str(data)])
    with pytest.raises(ValueError, match="keep_card pushes the one there: choose one"):
        model_upload(saved, "org/model", [report], keep_card=True)


def test_a_report_of_another_model_is_refused(saved: Path, tokenizer: Any, tmp_path: Path) -> None:
    report = write_report(saved, tmp_path / "report")
    # What does not change an answer may be different: another default index.
    _change(saved / "config.json", lambda c: c["onegen"].update(default_index="org/index"))
    check_reports(saved, [report])
    _change(saved / "config.json", lambda c: c["onegen"].update(answer_prefix="So:"))
    with pytest.raises(ValueError, match="belongs to another model than .*saved: onegen.answer_prefix differ"):
        check_reports(saved, [report])
    # One weight, by the smallest step there is.
    model = OneGenForCausalLM.from_pretrained(saved, dtype=torch.float32)
    model.onegen_config.answer_prefix = "Answer:"
    with torch.no_grad():
        row = model.get_input_embeddings().weight[7]
        row[0] = torch.nextafter(row[0], torch.tensor(9.0))
    model.set_onegen_config(model.onegen_config).save_pretrained(saved)
    with pytest.raises(ValueError, match="another model than .*saved: weights differ"):
        check_reports(saved, [report])


def test_a_report_that_names_no_weights_is_refused(saved: Path, tmp_path: Path) -> None:
    report = write_report(saved, tmp_path / "report")
    _change(tmp_path / "report/report.json", lambda content: content["settings"].pop("model"))
    with pytest.raises(ValueError, match="does not record which weights"):
        check_reports(saved, [report])


def test_index(saved: Path) -> None:
    found = index_upload(saved / "index", "org/towns")
    assert (found.repo_type, sorted(found.files)) == ("dataset", ["index.faiss", "index.json", "passages.parquet"])
    text = str(found.card)
    assert 'PassageIndex.load("org/towns")' in text and "`org/model` (revision `v1`)" in text
    assert "| FAISS factory | `Flat` |" in text and "None" not in text and "{{" not in text
    assert DatasetCard(text).data.task_categories == ["text-retrieval"]
    (saved / "index/index.faiss").write_bytes(b"x")
    with pytest.raises(ValueError, match="truncated"):
        index_upload(saved / "index", "org/towns")


def test_index_of_an_unnamed_model(saved: Path) -> None:
    _change(saved / "index/index.json", lambda content: content.update(model_id=str(saved), revision=None))
    assert "queries of `saved` only" in str(index_upload(saved / "index", "o/t").card)
    _change(saved / "index/index.json", lambda content: content.update(model_id=None))
    assert "queries of the model that made it only" in str(index_upload(saved / "index", "o/t").card)


def test_dataset(tmp_path: Path) -> None:
    from data_builders.facts.builder import write_facts

    write_facts(str(tmp_path), 20, 5, 0)
    (tmp_path / "cache.sqlite").write_text("private")
    found = dataset_upload(tmp_path, "org/facts")
    assert found.repo_type == "dataset" and "documents" in str(found.card)
    assert "cache.sqlite" not in found.files and any(name.startswith("examples/") for name in found.files)
    for file in tmp_path.glob("documents/*.parquet"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="the README names it: build it again"):
        dataset_upload(tmp_path, "org/facts")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Other\n")
    with pytest.raises(ValueError, match=r"names the configs \[\], expected"):
        dataset_upload(tmp_path, "org/facts")


def test_push_is_one_commit(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is replaced at its boundary; `test_round_trip.py` runs the real one."""
    calls: list[tuple[str, Any]] = []

    class Api:
        def __init__(self, token: str | None = None) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: calls.append((name, (args, kwargs)))

    monkeypatch.setattr(commit, "HfApi", Api)
    index_upload(saved / "index", "org/towns").push(private=True, revision="trial", commit_message="First")
    assert [name for name, _ in calls] == ["create_repo", "create_branch", "create_commit"]
    (_, operations), options = calls[2][1]
    assert sorted(o.path_in_repo for o in operations) == ["README.md", "index.faiss", "index.json", "passages.parquet"]
    assert options == {
        "commit_message": "First", "commit_description": None, "create_pr": False, "repo_type": "dataset",
        "revision": "trial",
    }  # fmt: skip
    assert calls[0][1][1] == {"repo_type": "dataset", "private": True, "exist_ok": True}


def _change(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_model_in_memory(saved: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[Any] = []

    class Api:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, *args: Any, **kwargs: Any) -> None:
            pass

        def list_repo_files(self, *args: Any, **kwargs: Any) -> list[str]:
            return []

        def create_commit(self, repo_id: str, operations: Any, **kwargs: Any) -> str:
            files = {operation.path_in_repo: operation.path_or_fileobj for operation in operations}
            texts = {name: text.decode() for name, text in files.items() if isinstance(text, bytes)}
            commits.append((repo_id, {**dict.fromkeys(files, ""), **texts}))
            return "commit"

    monkeypatch.setattr(commit, "HfApi", Api)
    model = OneGenForCausalLM.from_pretrained(saved)
    assert model.push_to_hub("org/model", tokenizer=tokenizer, tags=["trial"]) == "commit"
    repo_id, files = commits[0]
    assert repo_id == "org/model"
    assert {"model.safetensors", "tokenizer.json", "index/index.faiss", "config.json"} <= files.keys()
    card = ModelCard(files["README.md"])
    assert card.data.tags == ["onegen", "retrieval-augmented-generation", "trial"] and str(saved) not in card.content
    assert 'pipeline("onegen-rag", model="org/model")' in card.content

    for name in (str(saved / "nowhere"), str(saved.parent), ""):
        model.name_or_path = name
        with pytest.raises(FileNotFoundError, match="lies beside the weights, but there is none in"):
            model.push_to_hub("org/model")
    model.name_or_path = "org/base"
    model.onegen_config.default_index = None
    model.set_onegen_config(model.onegen_config).push_to_hub("org/model")
    assert "base_model: org/base" in commits[1][1]["README.md"]


def test_a_merged_adapter_takes_the_reports_of_the_adapter(
    base_tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_backbone().save_pretrained(tmp_path / "base")
    tokenizer = copy.deepcopy(base_tokenizer)
    model = OneGenForCausalLM.from_backbone(str(tmp_path / "base"), tokenizer)
    model.save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
    save_adapter(add_adapter(model, tokenizer, config), tokenizer, tmp_path / "adapter")
    report = write_report(tmp_path / "adapter", tmp_path / "report")
    push = ["push", "model", str(tmp_path / "adapter"), "org/merged", "--merge", "--dry_run", "--reports"]
    main([*push, report])
    text = capsys.readouterr().out
    assert "(a merged LoRA adapter)" in text and "| em | 0.5000 |" in text and "base_model_relation" not in text
    assert "adapter_model" not in text and str(tmp_path) not in text
    with pytest.raises(SystemExit, match="another model than .*adapter: weights differ"):
        main([*push, write_report(tmp_path / "other", tmp_path / "report-of-other")])


CARDS = """
import sys
from huggingface_hub import DatasetCard, ModelCard
from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.modeling import load_tokenizer

checkpoint = sys.argv[1]
OneGenForCausalLM.from_pretrained(checkpoint).push_to_hub("org/model", tokenizer=load_tokenizer(checkpoint))
PassageIndex.load(f"{checkpoint}/index").push_to_hub("org/towns")
for card in (ModelCard.load("org/model"), DatasetCard.load("org/towns")):
    card.validate()
"""
RUN_AS_PRINTED = """
import re, sys
from huggingface_hub import DatasetCard, ModelCard

card = {"model": ModelCard, "dataset": DatasetCard}[sys.argv[1]].load(sys.argv[2])
namespace = {}
exec(compile(re.search(r"```python\\n(.*?)```", card.content, re.DOTALL)[1], "card", "exec"), namespace)
print(sorted(namespace.keys() & {"rag", "found", "index"}))
"""


@pytest.mark.slow
def test_cards_on_a_hub_that_validates_them(hub: LoopbackHub, saved: Path, tmp_path: Path) -> None:
    run(hub, tmp_path / "pusher", "-c", CARDS, str(saved))
    assert hub.requests.count("POST api/validate-yaml") == 4  # the client asks before each commit, and `validate` does
    for arguments, made in ((("model", "org/model"), ["found", "rag"]), (("dataset", "org/towns"), ["index"])):
        printed = run(hub, tmp_path / arguments[0], "-c", RUN_AS_PRINTED, *arguments)
        assert printed.splitlines()[-1] == str(made)
    for repository, code in (("models/org/model", "onegen-rag"), ("datasets/org/towns", "PassageIndex.load")):
        card = hub.repositories[repository]["main"]["README.md"].decode()
        assert code in card and "- onegen" in card
