"""The other commands, in this process and as a user starts them."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from support.sample_corpus import DOCUMENTS
from support.tiny_models import tiny_model

from onegen_hf import PassageIndex
from onegen_hf.cli.demo import OUTSIDE, demo_questions
from onegen_hf.cli.display import format_result
from onegen_hf.cli.main import COMMANDS, main
from onegen_hf.cli.model_arguments import ModelArguments
from onegen_hf.files import locked_folder
from onegen_hf.importing.extras import is_package_available


@pytest.fixture(scope="module")
def checkpoint(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with an index beside its weights."""
    path = tmp_path_factory.mktemp("checkpoint")
    tokenizer = copy.deepcopy(base_tokenizer)
    model = tiny_model(tokenizer)
    model.onegen_config.default_index = "./index"
    model.set_onegen_config(model.onegen_config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    PassageIndex.build(model, tokenizer, DOCUMENTS, show_progress=False).save(path / "index")
    return path


@pytest.fixture
def default_checkpoint(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny checkpoint in place of the one that comes with the package."""
    monkeypatch.setattr(ModelArguments, "builtin", lambda _: checkpoint)


def test_help_names_every_command() -> None:
    found = subprocess.run([sys.executable, "-m", "onegen_hf", "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {name}" in found.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: onegen-hf {command}" in capsys.readouterr().out


def test_an_unknown_command() -> None:
    with pytest.raises(SystemExit, match="unknown command 'as'"):
        main(["as"])


def test_ask_as_text_and_as_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", str(checkpoint), "--max-new-tokens", "6"]
    main(["ask", "Where is it?", "Who made it?", *options])
    text = capsys.readouterr().out
    assert text.count("Question  ") == text.count("Answer    ") == 2
    main(["ask", "Where is it?", *options, "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["question"] == "Where is it?"
    assert result["usage"]["generated_tokens"] == 6


def test_ask_from_standard_input(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Where is it?\n\nWho made it?\n"))
    main(["ask", "--model", str(checkpoint), "--max-new-tokens", "4", "--json"])
    questions = [json.loads(line)["question"] for line in capsys.readouterr().out.splitlines()]
    assert questions == ["Where is it?", "Who made it?"]


def test_ask_streams(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ask", "Where is it?", "--model", str(checkpoint), "--max-new-tokens", "4", "--stream"]
    main(command)
    shown = capsys.readouterr().out
    assert shown.startswith("Question  Where is it?\n") and "4 generated" in shown
    main([*command, "--json"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["type"] for event in events] == ["token"] * 4 + ["answer", "done"]
    assert {event["question"] for event in events} == {"Where is it?"}


def test_index_splits_long_passages(
    checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        json.dumps({"id": "long", "title": "Boat", "text": "The boat is made of tin. " * 30, "meta": {"year": 1954}})
    )
    options = ["--model", str(checkpoint), "--passages", str(tmp_path / "corpus.jsonl")]
    main(["index", *options, "--output-dir", str(tmp_path / "index"), "--max-tokens-per-passage", "40"])
    index = PassageIndex.load(tmp_path / "index")
    assert len(index) > 2 and index.get("long#1").meta == {"year": 1954}  # type: ignore[union-attr]
    assert f"1 of 1 passages took more than 40 tokens and were split into {len(index)} pieces" in caplog.text
    with pytest.raises(SystemExit):
        main(["index", *options, "--output-dir", str(tmp_path / "index"), "--max-tokens-per-passage", "9999"])
    assert len(PassageIndex.load(tmp_path / "index")) == len(index)


@pytest.mark.parametrize("shards", [False, True])
def test_long_passages_of_files_are_split_and_those_of_datasets_are_cut(
    checkpoint: Path, tmp_path: Path, shards: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    passage = {"id": "long", "title": "Boat", "text": "The boat is made of tin. " * 200}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(passage))
    repository = tmp_path / "repository"
    (repository / "documents").mkdir(parents=True)
    Dataset.from_list([passage]).to_parquet(repository / "documents" / "train.parquet")
    (repository / "README.md").write_text(
        "---\nconfigs:\n- config_name: documents\n  data_files:\n"
        "  - split: train\n    path: documents/train.parquet\n---\n"
    )

    def indexed(source: str, *more: str) -> PassageIndex:
        place = tmp_path / "-".join(["index", source, *more])
        options = ["--model", str(checkpoint), "--passages", str(tmp_path / source), "--output-dir", str(place), *more]
        main(["index", *options, *(["--shards", f"{place}-shards"] if shards else [])])
        return PassageIndex.load(place)

    assert len(indexed("corpus.jsonl")) > 2
    assert len(indexed("corpus.jsonl", "--long-passages", "cut")) == 1
    assert [passage.id for passage in indexed("repository")] == ["long"]
    assert len(indexed("repository", "--long-passages", "split")) > 2
    with pytest.raises(SystemExit):
        indexed("corpus.jsonl", "--long-passages", "cut", "--max-tokens-per-passage", "40")
    assert "max_tokens_per_passage=40 splits long passages" in capsys.readouterr().err


@pytest.mark.skipif(is_package_available("gradio"), reason="Gradio is installed")
def test_ui_without_gradio_names_the_extra() -> None:
    with pytest.raises(SystemExit, match=r"ui.*gradio.*pip install 'onegen-hf\[ui\]'"):
        main(["ui"])


def test_ask_with_drafts(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def asked(*options: str) -> dict[str, Any]:
        main(["ask", "Where is Fern Bay?", "--model", str(checkpoint), "--json", "true", *options])
        return json.loads(capsys.readouterr().out)

    plain, drafted = asked(), asked("--prompt-lookup-num-tokens", "4")
    assert (drafted["text"], drafted["answer"]) == (plain["text"], plain["answer"])
    assert plain["usage"]["rejected_tokens"] == 0
    fewer = plain["usage"]["forward_calls"] - drafted["usage"]["forward_calls"]
    assert drafted["usage"]["rejected_tokens"] + fewer > 0


def test_index_then_ask(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({**d, "id": n}) + "\n" for n, d in enumerate(DOCUMENTS[:5])))
    out = tmp_path / "index"
    main(["index", "--passages", str(corpus), "--output-dir", str(out), "--model", str(checkpoint)])
    assert capsys.readouterr().out == (
        f"5 passages are in {out} (5 embeddings of dimension 32)\n"
        f'Next: onegen-hf ask "..." --index {out} --model {checkpoint}\n'
    )
    assert sorted(path.name for path in out.iterdir()) == ["index.faiss", "index.json", "passages.parquet"]
    assert PassageIndex.load(out).passages[4].id == "4"
    main(["ask", "Why?", "--model", str(checkpoint), "--index", str(out), "--max-new-tokens", "3"])


def test_an_index_of_the_bundled_model_names_it(
    checkpoint: Path, default_checkpoint: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("The boat is made of tin.")
    main(["index", "--passages", str(tmp_path / "notes.txt"), "--output-dir", str(tmp_path / "my index")])
    assert capsys.readouterr().out.endswith(f"Next: onegen-hf ask \"...\" --index '{tmp_path / 'my index'}'\n")
    assert PassageIndex.load(tmp_path / "my index").model_id == "builtin"


@pytest.mark.parametrize("command", [["ask", "Who?"], ["search", "a boat"]])
def test_a_folder_of_texts_is_no_index(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("The boat is made of tin.")
    with pytest.raises(SystemExit, match="holds no index: build one with `onegen-hf index --passages .*` and name"):
        main([*command, "--index", str(tmp_path)])
    assert "Loading weights" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["ask", "Who?"], "--index"),
        (["search", "a boat"], "--index"),
        (["index", "--passages", "notes.txt"], "--output-dir"),
    ],
)
def test_a_wrong_url_is_named_before_a_model_is_loaded(
    command: list[str],
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("The boat is made of tin.")
    name = option.removeprefix("--").replace("-", "_")
    with pytest.raises(SystemExit, match=rf"{name}: qdrnt:// is no store .*did you mean 'qdrant'"):
        main([*command, option, "qdrnt://./store/films"])
    with pytest.raises(SystemExit, match=rf"{name}: postgresql://me:\*\*\*@host/db/two words must end") as refusal:
        main([*command, option, "postgresql://me:secret@host/db/two words"])
    assert "secret" not in str(refusal.value) and "Loading weights" not in capsys.readouterr().err


def test_index_of_the_torch_backend(checkpoint: Path, tmp_path: Path) -> None:
    corpus, out = tmp_path / "corpus.jsonl", tmp_path / "index"
    corpus.write_text('{"id": "a", "text": "A town."}\n')
    command = ["index", "--passages", str(corpus), "--output-dir", str(out), "--model", str(checkpoint)]
    main([*command, "--backend", "torch"])
    assert sorted(path.name for path in out.iterdir()) == ["embeddings.safetensors", "index.json", "passages.parquet"]
    with pytest.raises(SystemExit, match="factory='HNSW32' is for backend='faiss', not for 'torch'"):
        main([*command, "--backend", "torch", "--factory", "HNSW32"])


def test_index_locks_its_folder(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "A town."}\n')
    command = ["index", "--passages", str(corpus), "--output-dir", str(tmp_path / "out"), "--model", "nowhere"]
    # Another thread, since the one that holds the lock may take it again. The model is not looked for.
    with locked_folder(tmp_path / "out", "a test"), ThreadPoolExecutor() as threads:
        with pytest.raises(SystemExit, match="another process is writing to .*indexing"):
            threads.submit(main, command).result()


def test_errors_of_input_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="^onegen-hf index: .*nowhere.jsonl: no such file"):
        main(["index", "--passages", str(tmp_path / "nowhere.jsonl"), "--output-dir", str(tmp_path / "out")])


@pytest.mark.usefixtures("default_checkpoint")
def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo", "--num-questions", "3", "--max-new-tokens", "5"])
    text = capsys.readouterr().out
    assert text.count("Question  ") == 4
    assert OUTSIDE in text
    with pytest.raises(SystemExit, match="num_questions=99 must be from 0 to"):
        main(["demo", "--num-questions", "99"])


def test_demo_questions_differ() -> None:
    questions = demo_questions()
    assert len(set(questions)) == len(questions) >= 6


def test_a_result_for_people() -> None:
    passage = {"id": "a", "title": "Ada", "text": "word " * 100, "score": 0.91234}
    usage = dict(prompt_tokens=1, generated_tokens=2, retrieved_tokens=3, forwarded_tokens=5, forward_calls=3)
    result = {
        "answer": "Fern Bay", "text": "", "retrievals": [{"hop": 0, "query": "Where?", "passages": [passage] * 3}],
        "usage": usage, "stop_reason": "context_full", "retrieval_stopped": "max_hops",
    }  # fmt: skip
    lines = format_result("Why?", result, sources=2).splitlines()
    assert lines[0] == "Question  Why?"
    assert lines[1] == "  hop 1   Where?"
    assert lines[2] == lines[3] and lines[2].startswith("          0.912  Ada: word word")
    assert lines[4] == "Answer    Fern Bay"
    assert lines[5].endswith("5 forwarded in 3 steps")
    assert lines[6].endswith("generation was stopped: context_full")
    assert lines[7].endswith("no further retrieval: max_hops")
    assert max(map(len, lines)) <= 110
    unanswered = format_result("Why?", {**result, "answer": ""}).splitlines()
    assert unanswered[3] == "Answer    (none was written)"
