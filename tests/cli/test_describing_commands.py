"""`info`, `env`, `search` and `completion`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.sample_corpus import DOCUMENTS, make_repository
from support.tiny_models import tiny_model

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.cli.completion import bash_script, fish_script, zsh_script
from onegen_hf.cli.main import COMMANDS, main
from onegen_hf.modeling.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def checkpoint(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with an index beside its weights."""
    import copy

    path, tokenizer = tmp_path_factory.mktemp("checkpoint"), copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer)
    model.onegen_config.default_index = "./index"
    model.set_onegen_config(model.onegen_config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(path / "index")
    return path


def info(capsys: pytest.CaptureFixture[str], folder: Path | str) -> dict[str, Any]:
    main(["info", str(folder), "--json"])
    return json.loads(capsys.readouterr().out)


def test_info_of_a_checkpoint_and_its_index(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = info(capsys, checkpoint)
    assert facts["kind"] == "checkpoint" and facts["backbone"].startswith("llama, 2 layers")
    assert facts["retrieval tokens"] == "[RQ] [RD] <paragraph> </paragraph>" and facts["task"] == "rag"
    assert facts["index passages"] == len(DOCUMENTS)
    index = info(capsys, checkpoint / "index")
    assert index["size"].endswith(" kB") and not index["size"].startswith("0")
    assert index["kind"] == "index" and index["passages"] == len(DOCUMENTS) and index["search"] == "Flat"
    main(["info", str(checkpoint), str(checkpoint / "index")])
    assert capsys.readouterr().out.count("passages") == 2


def test_info_of_what_comes_with_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    facts = info(capsys, "builtin")
    assert facts["base"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert facts["words"] == "count 0.13 beside embeddings, weighted"
    assert facts["index search"] == "Flat, and by words (BM25)"
    assert info(capsys, "builtin-linker")["task"] == "entity linking"


def test_info_of_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_repository(tmp_path)
    facts = info(capsys, tmp_path)
    assert facts["kind"] == "dataset" and facts["documents, train"].startswith(f"{len(DOCUMENTS)} rows")


def test_info_of_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"f1": {"value": 0.5, "low": 0.25, "high": 0.75}}
    report = {"task": "rag", "model": "m", "results": {"retrieved": {"all": {"examples": 4, "metrics": metrics}}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert info(capsys, tmp_path)["retrieved f1"] == "0.500 [0.250, 0.750]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such folder"),
        ({}, "holds no checkpoint, index, dataset or evaluation"),
        ({"index.json": "{"}, "index.json is damaged"),
        ({"README.md": "---\na: [\n---\n"}, "its YAML can't be read"),
    ],
)
def test_info_of_something_else(content: dict[str, str] | None, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    if content is not None:
        folder.mkdir()
        for name, text in content.items():
            (folder / name).write_text(text)
    with pytest.raises(SystemExit, match=message) as stopped:
        main(["info", str(folder)])
    assert stopped.value.code == 2


def test_env(capsys: pytest.CaptureFixture[str]) -> None:
    main(["env", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["onegen-hf"] and facts["torch"] and facts["faiss"].startswith("faiss") and facts["devices"]
    main(["env"])
    assert "- transformers: " in capsys.readouterr().out


def test_search(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", "Where is Fern Bay?", "Who?", "--model", str(checkpoint), "--top-k", "3"]
    main([*command, "--json", "--batch-size", "1"])
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["text"] for result in results] == ["Where is Fern Bay?", "Who?"]
    scores = [passage["score"] for passage in results[0]["passages"]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    main(command)
    shown = capsys.readouterr().out
    assert shown.count("Search    ") == 2 and results[0]["passages"][0]["title"] in shown


def test_search_gives_what_an_index_gives(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    model = OneGenForCausalLM.from_pretrained(checkpoint)
    tokenizer = load_tokenizer(checkpoint)
    passages = [{"id": "a", "title": "Fern Bay", "text": "Fern Bay is a town.", "meta": {"year": 1954}}, "Tin Boat."]
    index = PassageIndex.build(model, tokenizer, passages, show_progress=False)
    index.save(tmp_path)
    command = ["search", "Where is Fern Bay?", "--model", str(checkpoint), "--index", str(tmp_path)]
    main([*command, "--json"])
    (result,) = map(json.loads, capsys.readouterr().out.splitlines())
    expected = index.search_text("Where is Fern Bay?", 5)
    assert [{**passage, "score": 0} for passage in result["passages"]] == [{**p, "score": 0} for p in expected]
    assert [p["score"] for p in result["passages"]] == pytest.approx([p.score for p in expected], abs=1e-5)
    main(command)
    assert '          {"year": 1954}\n' in capsys.readouterr().out


def test_completion_names_everything() -> None:
    bash, fish = bash_script(), fish_script()
    assert zsh_script().startswith("#compdef onegen-hf") and bash in zsh_script()
    for words in (*COMMANDS, "--retrieval", "--lr-scheduler-type", "multi-hop", "adaptive"):
        assert words in bash
    assert "complete -c onegen-hf -n '__fish_seen_subcommand_from ask' -l json -d" in fish


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["in"], "index info"),
        (["ask", "--ret"], "--retrieval --retrieval-threshold"),
        (["ask", "--retrieval", "a"], "adaptive always"),
        (["ask", "--index", ""], ""),  # left to the completion of files
        (["build", "mul"], "multi-hop"),
        (["train", "--lr-s"], "--lr-scheduler-type --lr-scheduler-kwargs"),
    ],
)
def test_completion_in_bash(words: list[str], completed: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(bash_script())
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"source ./script; COMP_WORDS=(onegen-hf {line}); COMP_CWORD={len(words)}; _onegen_hf; echo ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == completed and done.stderr == ""


def test_completion_needs_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["completion", "tcsh"])
    assert stopped.value.code == 2 and "bash, zsh, fish" in capsys.readouterr().err
