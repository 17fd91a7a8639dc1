"""`onegen-hf link` with a tiny checkpoint on disk."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
from support.linking_setup import ENTITIES, linking_setup
from transformers.pipelines import PIPELINE_REGISTRY

from onegen_hf import PassageIndex
from onegen_hf.cli.main import main
from onegen_hf.pipelines import DEFAULT_LINKER

TEXTS = ["Ada Moll met Ben Oak in Fern Bay.", "A boat \U0001f600 in Elm Hill"]


@pytest.fixture(scope="module")
def checkpoint(base_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("linker")
    setup = linking_setup(copy.deepcopy(base_tokenizer))
    setup.model.onegen_config.default_index = "./index"
    setup.model.set_onegen_config(setup.model.onegen_config)
    setup.model.save_pretrained(path)
    setup.tokenizer.save_pretrained(path)
    PassageIndex.build(setup.model, setup.tokenizer, ENTITIES, show_progress=False).save(path / "index")
    return path


def outputs(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_texts_from_the_command_line(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["link", *TEXTS, "--model", str(checkpoint), "--json", "--top-k", "2"])
    found = outputs(capsys)
    assert [result["text"] for result in found] == TEXTS
    mentions = [(result["text"], mention) for result in found for mention in result["mentions"]]
    assert mentions
    for text, mention in mentions:
        assert mention["mention"] == text[mention["start"] : mention["end"]]
        assert len(mention["candidates"]) == 2


def test_texts_from_standard_input(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["link", *TEXTS, "--model", str(checkpoint), "--json"])
    expected = outputs(capsys)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TEXTS[0]}\n\n{TEXTS[1]}"))
    main(["link", "--model", str(checkpoint), "--index", str(checkpoint / "index"), "--json"])
    found = outputs(capsys)
    assert [r["text"] for r in found] == TEXTS
    assert [[m["entity_id"] for m in r["mentions"]] for r in found] == [
        [m["entity_id"] for m in r["mentions"]] for r in expected
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS)))
    main(["link", "--model", str(checkpoint), "--json", "--whole"])
    assert [result["text"] for result in outputs(capsys)] == ["\n".join(TEXTS)]


def test_output_for_people(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["link", TEXTS[0], "--model", str(checkpoint), "--nil-threshold", "1.1"])
    assert "NIL" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:a text was not written to its end")  # a random model does not end by itself
def test_detection_and_a_page(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "page.html"
    options = ["--num-beams", "2", "--html", str(page)]
    main(["link", *TEXTS, "--model", str(checkpoint), "--json", *options])
    mentions = [mention for result in outputs(capsys) for mention in result["mentions"]]
    shown = page.read_text(encoding="utf-8")
    assert mentions
    assert all(f"<mark>{mention['mention']}</mark><sub>[LK]</sub>" in shown for mention in mentions)
    main(["link", TEXTS[0], "--model", str(checkpoint), "--mode", "detection", "--json"])
    (result,) = outputs(capsys)
    assert {tuple(mention) for mention in result["mentions"]} == {("mention", "start", "end")}
    main(["link", TEXTS[0], "--model", str(checkpoint), "--decoding", "free", "--json"])
    assert outputs(capsys)[0]["text"] == TEXTS[0]


def test_no_model_is_the_one_that_comes_along(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = PIPELINE_REGISTRY.supported_tasks["onegen-entity-linking"]
    assert task["default"] == {"model": (str(DEFAULT_LINKER), "main")}
    monkeypatch.setitem(task, "default", {"model": (str(checkpoint), "main")})
    main(["link", "Ada Moll lives in Fern Bay.", "--json"])
    assert json.loads(capsys.readouterr().out)["text"] == "Ada Moll lives in Fern Bay."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--boundaries", "token"], "argument --boundaries: invalid choice: 'token' (choose from"),
        (["--top-k", "0"], "top_k=0 must be an integer at least 1"),
        (["--nil-threshold", "nan"], "nil_threshold=nan must be a finite number"),
    ],
)
def test_faulty_options(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["link", "a", *arguments])
    assert message in f"{stopped.value.code} {capsys.readouterr().err}"
