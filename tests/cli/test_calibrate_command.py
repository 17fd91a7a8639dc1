"""`onegen-hf calibrate` on a repository of a few examples, and what `ask` makes of the threshold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.evaluation_setup import checkpoint, repository, rows

from onegen_hf.cli.ask import main as ask
from onegen_hf.cli.calibrate import main
from onegen_hf.cli.display import answer_or_reason
from onegen_hf.cli.evaluate import main as evaluate

pytestmark = pytest.mark.xdist_group("evaluation")


def options(model: Path, out: Path, *more: str) -> list[str]:
    return [
        "--model", str(model), "--dataset", str(repository()), "--output-dir", str(out), "--limit", "2",
        "--index", str(model / "index"), "--max-new-tokens", "48", "--device", "cpu", *more,
    ]  # fmt: skip


def test_the_threshold_is_kept_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(checkpoint(), model)
    before = json.loads((model / "config.json").read_text())
    main(options(model, tmp_path / "out", "--decline", "0.5"))
    shown = capsys.readouterr().out
    assert "2 questions, each with and without" in shown and "--answer-threshold 0." in shown
    assert json.loads((model / "config.json").read_text()) == before
    main(options(model, tmp_path / "out", "--decline", "0.5", "--save"))
    after = json.loads((model / "config.json").read_text())
    threshold = after["onegen"].pop("answer_threshold")
    assert f"answer_threshold={threshold:.4f} is in {model / 'config.json'}" in capsys.readouterr().out
    assert before["onegen"].pop("answer_threshold") is None and after == before

    question = rows([1])[0]["question"]
    asking = ["--model", str(model), "--index", str(model / "index"), "--device", "cpu", "--max-new-tokens", "48"]
    ask([question, *asking])
    assert "Answer    Fern Bay\n" in capsys.readouterr().out
    for more in ([], ["--stream"]):
        ask([question, *asking, "--answer-threshold", "0.99", *more])
        shown = capsys.readouterr().out
        assert "Answer    The passages do not answer this: best score 0." in shown and "threshold 0.99" in shown
    ask([question, *asking, "--answer-threshold", "0.99", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert (record["answer"], record["answered"]) == ("", False) and "Fern Bay" in record["text"]
    assert record["retrievals"][0]["passages"][0]["score"] == record["retrieval_confidence"]


def test_what_cannot_be_calibrated(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="save writes into the checkpoint, but model='builtin' is no directory"):
        main(["--model", "builtin", "--dataset", "x", "--output-dir", str(tmp_path), "--save"])
    for option, message in (
        (["--answer-threshold", "0.5"], "answer_threshold=0.5 is what this command finds: leave it out"),
        (["--decline", "70"], "decline=70.0 must be from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            main(options(checkpoint(), tmp_path / "out", *option))


def test_why_there_is_no_answer() -> None:
    withheld = {"answer": "", "retrieval_confidence": 0.4, "answer_threshold": 0.5}
    assert answer_or_reason(withheld) == "The passages do not answer this: best score 0.40, threshold 0.50"
    assert answer_or_reason({**withheld, "retrieval_confidence": 0.6}, "no answer") == "no answer"  # by the model
    assert answer_or_reason({**withheld, "answer_threshold": None}, "no answer") == "no answer"
    assert answer_or_reason({"answer": "Fern Bay"}) == "Fern Bay"  # a result of an earlier release


def test_the_page_of_an_evaluation_shows_what_the_report_scored(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = options(checkpoint(), tmp_path / "out", "--html", str(page))
    evaluate(arguments)
    assert "wrong answer" not in page.read_text(encoding="utf-8")
    evaluate([*arguments, "--answer-threshold", "0.99"])
    assert "wrong answer" in page.read_text(encoding="utf-8")


def test_the_retrieval_threshold_is_kept_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(checkpoint(), model)
    main(options(model, tmp_path / "out", "--retrieval-frequency", "0"))
    assert "Use it with --retrieval-threshold 1, or write" in capsys.readouterr().out
    main(options(model, tmp_path / "out", "--retrieval-frequency", "0", "--save"))
    assert "retrieval_threshold=1 is in" in capsys.readouterr().out
    assert json.loads((model / "config.json").read_text())["onegen"]["retrieval_threshold"] == 1.0
    asking = ["--model", str(model), "--index", str(model / "index"), "--device", "cpu", "--max-new-tokens", "8"]
    for more, retrieves in (([], False), (["--retrieval-threshold", "0"], True)):
        ask([rows([1])[0]["question"], *asking, "--json", *more])
        assert bool(json.loads(capsys.readouterr().out)["retrievals"]) == retrieves
    with pytest.raises(ValueError, match="retrieval_frequency=0.5 finds the threshold of adaptive retrieval: leave"):
        main(options(model, tmp_path / "out", "--retrieval-frequency", "0.5", "--retrieval", "always"))
