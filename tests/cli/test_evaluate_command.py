"""`onegen-hf evaluate` on a repository of a few examples."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import Dataset
from support.evaluation_setup import NUMBERS, checkpoint, pipeline, repository
from support.sample_corpus import DOCUMENTS

from onegen_hf import PassageIndex
from onegen_hf.cli.evaluate import main
from onegen_hf.cli.push import main as push
from onegen_hf.modeling.int8 import has_integer_products

pytestmark = pytest.mark.xdist_group("evaluation")


def options(out: Path, *more: str) -> list[str]:
    return [
        "--model", str(checkpoint()), "--dataset", str(repository()), "--output-dir", str(out),
        "--max-new-tokens", "48", "--batch-size", "1", "--device", "cpu", *more,
    ]  # fmt: skip


def test_answers_with_an_index_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = options(tmp_path, "--gold-passages", "--limit", "4")
    capsys.readouterr()  # the checkpoint may just have been trained
    main(arguments)
    shown = capsys.readouterr().out
    assert shown.startswith("rag of checkpoint on two_questions, split dev\n12 passages searched, k=1, float32")
    assert "gold passages  examples" in shown and f"are in {tmp_path}" in shown
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["results"]["retrieved"]["all"]["examples"] == 4
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["index"]
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4


def test_retrieval_with_an_index_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(options(tmp_path, "--task", "retrieval", "--index", str(checkpoint() / "index")))
    assert "retrieval of checkpoint on two_questions" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"]["k"] == 100
    assert report["results"]["retrieved"]["by_type"]["2 hops"]["metrics"]["recall@1"]["value"] == 1.0
    assert not (tmp_path / "index").exists()
    with pytest.raises(ValueError, match="k was 100 and is now 5"):
        main(options(tmp_path, "--task", "retrieval", "--top-k", "5", "--index", str(checkpoint() / "index")))


def test_questions_without_passages(tmp_path: Path) -> None:
    file = tmp_path / "questions.tsv"
    file.write_text("question\tanswer\nWho made it?\tAda Moll\n")
    arguments = ["--model", str(checkpoint()), "--dataset", str(file), "--output-dir", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=r"questions.tsv holds questions and no passages \(.*name an index .*--index"):
        main(arguments)
    main([*arguments, "--index", str(checkpoint() / "index"), "--max-new-tokens", "4"])


def test_the_report_is_pushed_with_the_model_that_was_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sequence of the README, up to the upload."""
    main(options(tmp_path, "--limit", "2"))
    capsys.readouterr()
    push(["model", str(checkpoint()), "org/name", "--reports", str(tmp_path), "--dry-run"])
    shown = capsys.readouterr().out
    assert "## Evaluation: rag on two_questions (dev)" in shown and "Nothing was pushed" in shown


def test_the_index_of_the_checkpoint_is_used_for_the_same_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "checkpoint"
    shutil.copytree(checkpoint(), own)
    config = json.loads((own / "config.json").read_text())
    config["onegen"]["default_index"] = "./index"
    (own / "config.json").write_text(json.dumps(config))
    arguments = options(tmp_path / "out", "--limit", "2", "--task", "retrieval")
    arguments[1] = str(own)
    main(arguments)
    assert not (tmp_path / "out" / "index").exists()
    other = tmp_path / "other"
    shutil.copytree(repository(), other)
    Dataset.from_list([{**d, "title": d["title"] + "!"} for d in DOCUMENTS]).to_parquet(other / "documents.parquet")
    arguments = options(tmp_path / "again", "--limit", "2", "--task", "retrieval")
    arguments[1], arguments[3] = str(own), str(other)
    main(arguments)
    assert (tmp_path / "again" / "index").is_dir()


@pytest.mark.skipif(not has_integer_products(), reason="this torch has no integer products")
def test_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(options(tmp_path, "--int8"))
    assert "12 passages searched, k=1, int8 of onegen_hf;" in capsys.readouterr().out
    with pytest.raises(ValueError, match="dtype was 'int8 of onegen_hf' and is now 'float32'"):
        main(options(tmp_path))


@pytest.mark.slow  # a kill between any two lines is tested in tests/evaluation
def test_killed_from_outside(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ["--gold-passages", "--index", str(checkpoint() / "index")]
    main(options(whole, *more))
    arguments = options(killed, *more)
    code = "import sys; from onegen_hf.cli.evaluate import main; main(sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    answers = killed / "answers.jsonl"
    end = time.monotonic() + 120
    while not (answers.is_file() and answers.stat().st_size) and running.poll() is None and time.monotonic() < end:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert 1 <= answers.read_bytes().count(b"\n") <= len(NUMBERS)
    main(arguments)
    for name in ("answers.jsonl", "answers_gold_passages.jsonl", "report.json", "settings.json", "model-index.yaml"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "test"], "split 'test'"),
        (["--limit", "0"], "limit=0 must be at least 1"),
        (["--confidence-level", "95"], "confidence_level=95.0 must be above 0 and below 1"),
        (["--task", "retrieval", "--gold-passages"], "gold_passages is for task=rag"),
        (["--dataset", "nowhere/at_all"], "nowhere/at_all"),
        (["--index", "/no/such/index"], "/no/such/index"),
    ],
)
def test_errors_of_input(tmp_path: Path, more: list[str], message: str) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        main(options(tmp_path, *more))


def test_documents_without_the_positives_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    text = (repository() / "README.md").read_text()
    other = tmp_path / "repository"
    other.mkdir()
    (other / "README.md").write_text(text)
    shutil.copy(repository() / "dev.parquet", other)
    Dataset.from_list([{"id": "d0", "title": "", "sentences": ["Only one."]}]).to_parquet(other / "documents.parquet")
    message = r"positives are not in the documents: 'd1' \(example 'q0', query token 1\)"
    with pytest.raises(ValueError, match=message):
        main(["--dataset", str(other), "--output-dir", str(tmp_path / "out"), "--model", "org/no-model"])


def test_an_index_of_other_documents_is_refused(tmp_path: Path) -> None:
    rag = pipeline()
    edited = [{**document, "title": "New"} if document["id"] == "d6" else document for document in DOCUMENTS]
    PassageIndex.build(rag.model, rag.tokenizer, edited, show_progress=False).save(tmp_path / "index")
    with pytest.raises(ValueError, match="is the index of other documents: delete it"):
        main(options(tmp_path))


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OSError, match="cannot be written to"):
        main(options(tmp_path / "out"))
