"""An index in a database behaves as one in files: built, searched, asked, updated, and named on the command line."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from support.decoding_setup import Setup
from support.index_fixtures import make_corpus, make_model
from support.sample_corpus import DOCUMENTS
from support.store_passages import fill, passages, unit
from transformers import pipeline

from onegen_hf import Passage, PassageIndex
from onegen_hf.cli.main import main


@pytest.mark.parametrize("granularity", ["passage", "sentence"])
def test_it_answers_as_files_do(tokenizer: Any, url: str, granularity: str) -> None:
    model = make_model(tokenizer, granularity=granularity)
    corpus = [Passage(p.id, p.title, p.text, p.sentences, {"n": n}) for n, p in enumerate(make_corpus(25))]
    files = PassageIndex.build(model, tokenizer, corpus, show_progress=False)
    stored = PassageIndex.build(model, tokenizer, corpus, backend=url, show_progress=False, model_id="org/m")
    opened = PassageIndex.load(url)
    assert (len(opened), opened.num_rows, opened.dimension) == (len(files), files.num_rows, files.dimension)
    assert (opened.granularity, opened.model_id, opened.factory) == (granularity, "org/m", None)
    for index in (stored, opened):
        for filter in (None, {"n": {"$gte": 10}}):
            scores, rows = index.search(unit(5), 4, filter=filter)
            expected, expected_rows = files.search(unit(5), 4, filter=filter)
            np.testing.assert_allclose(scores, expected, atol=1e-5)
            references = [[index.reference(int(row)) for row in of_query] for of_query in rows]
            assert references == [[files.reference(int(row)) for row in of_query] for of_query in expected_rows]
    assert [hit.id for hit in opened.search_text("a red kite", 3, model, tokenizer)] == [
        hit.id for hit in files.search_text("a red kite", 3)
    ]
    with pytest.raises(ValueError, match="the index was made by another model"):
        opened.check_model(make_model(tokenizer, seed=5, granularity=granularity), tokenizer)
    for change in (files, opened):
        change.update(
            model,
            tokenizer,
            [{"id": "p1", "text": "An old song."}, {"id": "new", "text": "A mill."}],
            show_progress=False,
        )
        change.remove(["p0"])
    assert len(opened) == len(files) == 25
    assert opened.get("p1").text == "An old song." and opened.get("p0") is None  # type: ignore[union-attr]
    _, rows = opened.search(unit(5), 4)
    _, expected_rows = files.search(unit(5), 4)
    assert [[opened[int(r)].id for r in q] for q in rows] == [[files[int(r)].id for r in q] for q in expected_rows]
    assert "secret" not in repr(opened) and "sesame" not in repr(opened)


def test_what_belongs_to_files_is_refused_by_name(tokenizer: Any, url: str, tmp_path: Path) -> None:
    model = make_model(tokenizer)
    index = PassageIndex.build(model, tokenizer, make_corpus(3), backend=url, show_progress=False)
    with pytest.raises(ValueError, match="save: .*is kept in a database"):
        index.save(tmp_path)
    with pytest.raises(ValueError, match=r"hybrid=0\.5: .*searched by embedding only"):
        index.search(unit(1), 1, hybrid=0.5, texts=["x"])
    with pytest.raises(ValueError, match="nprobe=4 is no search parameter"):
        index.set_search_parameters(nprobe=4)
    with pytest.raises(ValueError, match="factory='HNSW32' is for FAISS"):
        PassageIndex.build(model, tokenizer, make_corpus(3), backend=url, factory="HNSW32")
    again = pickle.loads(pickle.dumps(index))
    assert len(again) == 3


def test_a_pipeline_over_a_store(llama: Setup, url: str) -> None:
    PassageIndex.build(llama.model, llama.tokenizer, DOCUMENTS, backend=url, show_progress=False)
    options: dict[str, Any] = {"threshold": 0.0, "max_hops": 2, "max_new_tokens": 24, "k": 2}
    over_files, over_store = (
        pipeline("onegen-rag", model=llama.model, tokenizer=copy.deepcopy(llama.tokenizer), index=index)
        for index in (llama.index, url)
    )
    questions = ["Where is it?", "Who made Tin Boat?"]
    for asked, expected in zip(over_store(questions, **options), over_files(questions, **options), strict=True):
        assert asked["text"] == expected["text"]
        for hop, expected_hop in zip(asked["retrievals"], expected["retrievals"], strict=True):
            assert [p["id"] for p in hop["passages"]] == [p["id"] for p in expected_hop["passages"]]


def test_from_the_command_line(
    llama: Setup, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    llama.model.save_pretrained(tmp_path / "model")
    llama.tokenizer.save_pretrained(tmp_path / "model")
    corpus = tmp_path / "passages.jsonl"
    records = [{**document, "meta": {"n": n}} for n, document in enumerate(DOCUMENTS)]
    corpus.write_text("\n".join(map(json.dumps, records)))
    main(["index", "--model", str(tmp_path / "model"), "--passages", str(corpus), "--output-dir", url])
    printed = "".join(capsys.readouterr())
    assert f"{len(DOCUMENTS)} passages are in {url.partition(':')[0]}://" in printed
    assert f":{urlsplit(url).password}@" not in printed
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
    main(["search", "Tin Boat", "--model", str(tmp_path / "model"), "--index", url, "--top-k", "3", "--json",
          "--filter", '{"n": {"$lt": 5}}'])  # fmt: skip
    printed = capsys.readouterr().out.strip().splitlines()[-1]
    ids = [passage["id"] for passage in json.loads(printed)["passages"]]
    assert len(ids) == 3 and set(ids) <= {document["id"] for document in DOCUMENTS[:5]}
    main(["ask", "Where is it?", "--model", str(tmp_path / "model"), "--index", url, "--json",
          "--retrieval-threshold", "0", "--max-new-tokens", "8", "--filter", '{"n": 2}'])  # fmt: skip
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert [passage["id"] for passage in result["retrievals"][0]["passages"]] == [DOCUMENTS[2]["id"]]


def test_a_push_from_the_command_line(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(url, passages(3), unit(3)).store.close()
    command = ["push", "index", url, "org/films", "--dry-run"]
    if url.startswith("lance://"):
        main(command)
        assert "Nothing was pushed" in capsys.readouterr().out
    else:
        with pytest.raises(SystemExit, match=r"cannot be pushed to the Hub: build a Lance dataset") as refusal:
            main(command)
        assert f":{urlsplit(url).password}@" not in str(refusal.value)
    with pytest.raises(SystemExit, match="a database has no README.md"):
        main([*command, "--keep-card"])
