"""`onegen-hf index` with `--shards` and `--update`, in this process and in several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.forked_python import ForkedPython
from support.index_fixtures import make_corpus, make_model, make_tokenizer
from support.shard_workers import contents

from onegen_hf import PassageIndex
from onegen_hf.cli.index_shards import device_of_process
from onegen_hf.cli.main import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    make_model(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write(tmp_path / "corpus.jsonl", {f"p{n}": passage.text for n, passage in enumerate(make_corpus(50))})


def write(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    return path


def command(checkpoint: Path, corpus: Path, tmp_path: Path, name: str = "one", *more: str) -> list[str]:
    return [
        "index", "--passages", str(corpus), "--output-dir", str(tmp_path / f"index-{name}"),
        "--shards", str(tmp_path / f"shards-{name}"), "--shard-size", "8", "--model", str(checkpoint), *more,
    ]  # fmt: skip


def test_one_process(checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(command(checkpoint, corpus, tmp_path))
    assert capsys.readouterr().out.startswith(
        f"50 passages are in {tmp_path / 'index-one'} (50 embeddings of dimension 32)"
    )
    index = PassageIndex.load(tmp_path / "index-one")
    assert index.model_id == checkpoint.name and [p.id for p in index] == [f"p{n}" for n in range(50)]
    tokenizer = make_tokenizer()
    index.check_model(make_model(tokenizer), tokenizer)


@pytest.mark.parametrize("factory", ["Falt", "PQ7"])
def test_an_unknown_factory_is_found_first(checkpoint: Path, corpus: Path, tmp_path: Path, factory: str) -> None:
    with pytest.raises(SystemExit, match=f"factory='{factory}' is no index of 32 dimensions"):
        main(command(checkpoint, corpus, tmp_path, "one", "--factory", factory))
    assert not (tmp_path / "shards-one").exists()


def test_the_same_command_twice_at_once(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    main(command(checkpoint, corpus, tmp_path, "one", "--factory", "IVF4,SQ8"))
    arguments = command(checkpoint, corpus, tmp_path, "two", "--factory", "IVF4,SQ8")[1:]
    code = "import runpy; runpy.run_module('onegen_hf.index', run_name='__main__')"
    processes = [ForkedPython(code, *arguments) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0], [process.stderr for process in processes]
    assert contents(tmp_path / "shards-two") == contents(tmp_path / "shards-one")
    assert contents(tmp_path / "index-two") == contents(tmp_path / "index-one")


def test_update_of_shards(checkpoint: Path, corpus: Path, tmp_path: Path) -> None:
    main(command(checkpoint, corpus, tmp_path))
    held = PassageIndex.load(tmp_path / "index-one")
    write(corpus, {"p0": "Another text.", "p1": make_corpus(2)[1].text})
    with pytest.raises(SystemExit, match="holds the shards of another corpus, or the corpus has changed .*--update"):
        main(command(checkpoint, corpus, tmp_path))
    main(command(checkpoint, corpus, tmp_path, "one", "--update"))
    index = PassageIndex.load(tmp_path / "index-one")
    assert [(p.id, p.text) for p in index] == [("p0", "Another text."), ("p1", make_corpus(2)[1].text)]
    assert len(held) == 50 and held[0].text == make_corpus(1)[0].text
    main(["info", str(tmp_path / "index-one")])


def test_update_without_shards(
    checkpoint: Path, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = ["index", "--passages", str(corpus), "--output-dir", str(tmp_path / "index"), "--model", str(checkpoint)]
    with pytest.raises(SystemExit, match="index.json is missing"):
        main([*options, "--update"])
    main(options)
    write(corpus, {"p3": "Another text.", "new": "A new one."})
    main([*options, "--update"])
    index = PassageIndex.load(tmp_path / "index")
    assert len(index) == 51 and index[3].text == "Another text." and index[50].id == "new"
    assert "49 passages of the index, such as 'p0', are not among the passages given: they stay" in caplog.text
    with pytest.raises(SystemExit, match="--update keeps how vectors are stored .*'Flat'.* ask for faiss, .*'HNSW32'"):
        main([*options, "--update", "--factory", "HNSW32"])
    main([*options, "--update", "--remove-missing"])
    assert [p.id for p in PassageIndex.load(tmp_path / "index")] == ["p3", "new"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard-size", "9"], "shard_size=9 is for encoding in shards: add --shards FOLDER"),
        (["--deduplicate"], "deduplicate=True is for encoding in shards"),
        (["--runner", "ray"], "runner='ray' is for encoding in shards"),
        (["--workers", "2"], "workers=2 is for --runner ray"),
        (["--remove-missing"], "remove_missing=True is for --update without --shards"),
        (["--shards", "x", "--update", "--remove-missing"], "remove_missing=True is for --update without --shards"),
        (["--shards", "x", "--shard-size", "0"], "shard_size=0 must be at least 1"),
    ],
)
def test_options_that_need_others(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["index", "--passages", "x", "--output-dir", str(tmp_path / "out"), *options])
    assert message in capsys.readouterr().err


def test_each_process_has_an_accelerator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert device_of_process("auto") == "auto" and device_of_process("cuda:1") == "cuda:1"
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    assert device_of_process("auto") == "cuda:1" and device_of_process("cpu") == "cpu"
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert device_of_process("auto") == "cpu"


def test_ray_is_missing(checkpoint: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onegen_hf.importing import extras

    known: Any = extras.is_package_available
    monkeypatch.setattr(extras, "is_package_available", lambda name: name != "ray" and known(name))
    with pytest.raises(SystemExit, match=r"--runner ray needs the package `ray`.*pip install 'onegen-hf\[ray\]'"):
        main(command(checkpoint, corpus, tmp_path, "one", "--runner", "ray"))
