"""`onegen-hf build`, from its arguments to a repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from data_builders.registry import CONVERTERS, converter_class
from onegen_hf.cli.build import documented_options, split_argument
from onegen_hf.cli.main import main

ROOT = Path(__file__).parents[2]


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def question(name: str) -> dict[str, Any]:
    context = [
        [title, [f"{title} was in {place} every spring."]]
        for title, place in (("Ada", "Elm"), ("Ben", "Oak"), ("Cy", "Fir"))
    ]
    step = {"sub_question": "Where was Ada every spring?", "answer": "Elm", "title": "Ada"}
    return {"id": name, "question": "Where was Ada?", "answer": "Elm", "context": context, "decomposition": [step]}


def test_options_of_the_build_and_of_the_converter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, dev = (
        write(tmp_path / "a.jsonl", question("a"), question("b"), {}),
        write(tmp_path / "d.jsonl", question("d")),
    )
    out = str(tmp_path / "out")
    command = ["build", "multi-hop", "--examples", train, f"dev={dev}", "--output-dir", out, "--num-negatives", "1"]
    with pytest.raises(
        SystemExit, match=r"onegen-hf build: a\.jsonl, line 3: the field `question` is missing; add it"
    ):
        main(command)
    command += ["--on-error", "skip", "--sample", "1", "--negatives", "bm25", "--num-mined-negatives", "1"]
    main(command)
    assert capsys.readouterr().out == (
        f"Wrote 1 train and 1 dev examples over 3 passages to {out}; 2 rows were left out, see report.json\n"
        f"Look at it:  onegen-hf info {out}\n"
        f"Train on it: onegen-hf train --config quick_start --dataset {out}\n"
    )
    main([*command, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"]["train"]["dropped"] == {"missing_field": 1, "not_sampled": 1}
    rows = load_dataset(out, "examples", split="dev", cache_dir=str(tmp_path / "cache"))
    assert [len(ids) for ids in rows[0]["negatives"]] == [2]
    assert json.loads(rows[0]["meta"])["negatives"]["method"] == "bm25"


def test_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["build", "facts", "--output-dir", str(tmp_path), "--train-size", "120", "--dev-size", "30", "--json"])
    assert json.loads(capsys.readouterr().out)["dev"]["examples"] == 30


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*CONVERTERS, "facts"))
    with pytest.raises(SystemExit, match="there is no builder 'x'"):
        main(["build", "x"])


@pytest.mark.parametrize("name", CONVERTERS)
def test_help_says_what_each_option_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["build", name, "--help"])
    assert stopped.value.code == 0
    shown, texts = capsys.readouterr().out, documented_options(converter_class(name))
    assert {option for option in texts if f"--{option.replace('_', '-')}" in shown} >= {"query_token", "num_negatives"}
    assert " ".join(texts["query_token"].split()[:4]) in " ".join(shown.split())


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("a.jsonl", ("train", "a.jsonl")),
        ("dev=a.jsonl", ("dev", "a.jsonl")),
        ("dev=b/c=1.jsonl", ("dev", "b/c=1.jsonl")),
        ("b/c=1.jsonl", ("train", "b/c=1.jsonl")),
    ],
)
def test_splits_of_sources(argument: str, expected: tuple[str, str]) -> None:
    assert split_argument(argument) == expected


def test_a_size_must_be_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", question("a"))
    with pytest.raises(SystemExit, match=r"sample='many' must be \[SPLIT=\]N"):
        main(["build", "multi-hop", "--examples", path, "--output-dir", str(tmp_path / "out"), "--sample", "many"])


def test_the_lines_of_the_documentation_run_as_printed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "your_own_data.md").read_text(encoding="utf-8")
    script = text.split("```bash\n")[1].split("```")[0]
    script = script.replace("onegen-hf ", f"{sys.executable} -m onegen_hf ").replace(
        "python -c", f"{sys.executable} -c"
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Who directed The Tin Boat?[RQ]<paragraph>The Tin Boat" in done.stdout
    report = json.loads((tmp_path / "data" / "mine" / "report.json").read_text())
    assert report["splits"]["train"]["examples"] == 2 and report["documents"]["documents"] == 2
