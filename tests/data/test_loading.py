"""Documents and examples from files, folders and repositories."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from support.sample_corpus import DOCUMENTS, EXAMPLES, make_repository

from onegen_hf.data.documents import DocumentStore
from onegen_hf.data.loading import join, load_documents, load_examples
from onegen_hf.data.passages import Passage


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset repository as the builders write it."""
    return make_repository(tmp_path_factory.mktemp("repository"))


def test_a_repository(repository: Path) -> None:
    assert [row["id"] for row in load_documents(repository)] == [d["id"] for d in DOCUMENTS]
    assert [row["id"] for row in load_examples(repository)] == [f"e{n}" for n in range(6)]
    assert [row["id"] for row in load_examples(repository, "dev")] == ["e6", "e7"]
    assert len(load_examples(repository, limit=2)) == 2
    assert len(load_examples(repository, limit=99)) == 6
    assert load_examples(repository)[0]["positives"] == EXAMPLES[0]["positives"]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"corpus.{kind}"
    table = Dataset.from_list(DOCUMENTS)
    table.to_parquet(path) if kind == "parquet" else table.to_json(path)
    found = DocumentStore(load_documents(path))
    assert found.ids == [d["id"] for d in DOCUMENTS]
    assert found[9].text == DOCUMENTS[9]["sentences"][0]


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("nothing.jsonl", FileNotFoundError, "nothing.jsonl: no such file"),
        ("nothing", FileNotFoundError, "no such dataset repository, folder or file"),
        ("notes.docx", ValueError, "the ending '.docx' is unknown"),
    ],
)
def test_what_is_not_there(name: str, error: Any, match: str, tmp_path: Path) -> None:
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(error, match=match):
        load_documents(tmp_path / name)


def test_an_unknown_split(repository: Path) -> None:
    with pytest.raises(ValueError, match="cannot load the config 'examples', split 'test'"):
        load_examples(repository, "test")


def test_join_keeps_the_shared_columns() -> None:
    joined = join([Dataset.from_dict({"a": [1], "b": [2]}), Dataset.from_dict({"c": [5], "a": [3]})])
    assert joined.to_dict() == {"a": [1, 3]}
    with pytest.raises(ValueError, match="datasets is empty"):
        join([])


def read(path: Path, content: str | bytes) -> list[tuple[str, str, str]]:
    """(id, title, text) of a file of passages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(passage.id, passage.title, passage.text) for passage in DocumentStore(load_documents(path))]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("corpus.jsonl", '{"_id": "MED-10", "title": "T", "text": "x", "metadata": {}}\n', [("MED-10", "T", "x")]),
        ("a.csv", "id,title,text\n1,1984,A novel.\n2,,More.\n", [("1", "1984", "A novel."), ("2", "", "More.")]),
        ("b.csv", "id,title,text\n007,Bond,A spy.\n010,Ten,10\n", [("007", "Bond", "A spy."), ("010", "Ten", "10")]),
        (
            "c.csv",
            "id,title,text\na,None,x\nb,NA,y\nc,nan,z\n",
            [("a", "None", "x"), ("b", "NA", "y"), ("c", "nan", "z")],
        ),
        ("D.CSV", "\ufeffdoc_id,contents\ntrue,1e5\n", [("true", "", "1e5")]),
        ("e.TSV", "docid\ttitle\tpassage\n1.0\tT\t2020-01-01\n", [("1.0", "T", "2020-01-01")]),
        (
            "f.jsonl",
            '{"id": 7, "title": null, "text": 1984}\n\n{"id": "b", "text": "x"}',
            [("7", "", "1984"), ("b", "", "x")],
        ),
        (
            "g.json",
            '[{"id": "a", "sentences": ["A.", "B."]}, {"id": "b", "text": "C."}]',
            [("a", "", "A. B."), ("b", "", "C.")],
        ),
        ("h.JSONL.GZ", gzip.compress(b'{"id": "a", "text": "x"}', mtime=0), [("a", "", "x")]),
        ("i.json.zst", pa.compress(b'[{"id": "a", "text": "x"}]', "zstd", asbytes=True), [("a", "", "x")]),
        ("j.csv.Zst", pa.compress("id,text\na,Zürich\n".encode(), "zstd", asbytes=True), [("a", "", "Zürich")]),
        ("Ada Moll.txt", "\ufeffBorn in Fern Bay.\n", [("0", "Ada Moll", "Born in Fern Bay.\n")]),
        ("data [v1]/c*.jsonl", '{"id": "a", "title": "T", "text": "hello"}\n', [("a", "T", "hello")]),
    ],
)
def test_every_cell_is_text(name: str, content: Any, expected: Any, tmp_path: Path) -> None:
    assert read(tmp_path / name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", "empty.jsonl: the file is empty; give one with records"),
        ("blank.jsonl", b"\n\n", "blank.jsonl: no record in this file"),
        ("head.csv", b"id,text\n", "head.csv: no record in this file"),
        ("broken.jsonl", b'{"id": "a", "text": "x"}\n{"id": \n', r"broken.jsonl, line 2: not valid JSON"),
        ("latin.csv", "id,text\na,ok\nb,Zürich\n".encode("latin-1"),
         r"latin.csv, .*line 3: not UTF-8 \(.*byte 0xfc at 3\); convert the file to UTF-8"),
        ("latin.jsonl", '{"text": "Zürich"}'.encode("latin-1"), r"latin.jsonl, line 1: not UTF-8 \(.*byte 0xfc at 11"),
        ("latin.txt", "Zürich".encode("latin-1"), r"latin.txt: not UTF-8 \(.*byte 0xfc at 1"),
        ("wide.csv", "id,text\na,x\n".encode("utf-16"), "wide.csv: UTF-16 and not UTF-8; convert"),
        ("more.csv", b"id,text\na,x,y\n", "more.csv, line 2: more cells than the header has"),
        ("cut.jsonl.zst", pa.compress(b'{"id": "a", "text": "x"}' * 500, "zstd", asbytes=True)[:20], "ends too early"),
        ("key.jsonl", b'{"page_key": "a", "text": "x"}', r"key.jsonl, line 1: .*though 'page_key' looks like one"),
        ("none.jsonl", b'{"id": "a", "words": "x"}', r"none.jsonl, line 1: passage 0 \(id 'a'\) has no text"),
        ("list.jsonl", b'{"id": "a", "title": ["t"], "text": "x"}', r"the title must be text, got \['t'\]"),
        ("twice.csv", b"id,text\n7,x\n7,y\n", "the id '7' stands for more than one passage"),
    ],
)  # fmt: skip
def test_malformed_files_are_named(name: str, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name, content)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", "id,text\na,one\n") == [("a", "", "one")]
    assert read(tmp_path / "a.csv", "id,text\na,two\n") == [("a", "", "two")]


def test_a_folder_of_files(tmp_path: Path) -> None:
    read(tmp_path / "data [v1]/a.csv", "id,text\na,one\n")
    read(tmp_path / "data [v1]/b/c.JSONL", '{"id": "b", "text": "two"}')
    assert DocumentStore(load_documents(tmp_path / "data [v1]")).ids == ["a", "b"]


def test_a_repository_in_a_folder_with_a_pattern_in_its_name(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "data [v1]")
    assert len(load_documents(repository)) == len(DOCUMENTS)


def test_folders_of_save_to_disk(tmp_path: Path) -> None:
    table = Dataset.from_dict({"docid": [1, 2], "contents": ["x", "y"], "title": [None, "T"]})
    table.save_to_disk(tmp_path / "one")
    DatasetDict(train=table).save_to_disk(tmp_path / "several")
    for name in ("one", "several"):
        found = DocumentStore(load_documents(tmp_path / name))
        assert found.ids == ["1", "2"] and found[0].title == ""
    with pytest.raises(ValueError, match=r"no split 'test'; it has \['train'\]"):
        load_documents(tmp_path / "several", "test")


def test_folders_that_lead_out_of_themselves(tmp_path: Path, repository: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"id": "s", "text": "secret"}')
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "notes.jsonl").symlink_to(secret)
    with pytest.raises(ValueError, match="notes.jsonl: this link leads out of the folder"):
        load_documents(linked)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.jsonl").write_text('{"id": "a", "text": "x"}')
    (inside / "b.jsonl").symlink_to(inside / "a.jsonl")
    assert len(load_documents(inside)) == 2
    for number, name in enumerate(["../secret.jsonl", str(secret), "hf://datasets/a/b/c.jsonl"]):
        hostile = tmp_path / f"hostile{number}"
        hostile.mkdir()
        configs = [{"config_name": "documents", "data_files": [{"split": "train", "path": name}]}]
        (hostile / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
        with pytest.raises(ValueError, match="README.md: it names the data file .* outside of the folder"):
            load_documents(hostile)
    saved = tmp_path / "saved"
    Dataset.from_dict({"id": ["a"], "text": ["x"]}).save_to_disk(saved)
    state = json.loads((saved / "state.json").read_text())
    state["_data_files"][0]["filename"] = "../secret.arrow"
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="state.json: it names the data file '../secret.arrow'"):
        load_documents(saved)


def test_a_snapshot_of_the_hub_links_to_its_blobs(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "datasets--a--b/blobs", tmp_path / "datasets--a--b/snapshots/123"
    blobs.mkdir(parents=True), snapshot.mkdir(parents=True)
    (blobs / "abc").write_text('{"id": "a", "text": "x"}')
    (snapshot / "corpus.jsonl").symlink_to(blobs / "abc")
    assert DocumentStore(load_documents(snapshot)).ids == ["a"]


def test_questions_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    rows = [
        {"id": 3, "question": "Who?", "golden_answers": ["Ada", 7], "metadata": {"a": 1}},
        {"_id": "b", "query": "Where?", "answer": "Fern Bay", "positive": ["d1", "d2"]},
        {
            "question": "What?",
            "answers": None,
            "positives": [["d1"], []],
            "negatives": [["d2"], ["d3"]],
            "meta": {"type": "x"},
        },
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    examples = load_examples(path)
    assert examples["id"] == ["3", "b", "2"] and examples["question"] == ["Who?", "Where?", "What?"]
    assert examples["answers"] == [["Ada", "7"], ["Fern Bay"], []]
    assert examples["positives"] == [[], [["d1", "d2"]], [["d1"], []]]
    assert examples["negatives"] == [[], [[]], [["d2"], ["d3"]]]
    assert json.loads(examples["meta"][2]) == {"type": "x"}
    assert examples[0]["messages"] == [{"role": "user", "content": "Who?"}]
    assert len(load_examples(path, limit=2)) == 2
    with pytest.raises(ValueError, match="limit=0 must be at least 1"):
        load_examples(path, limit=0)
    path.write_text('{"text": "x"}')
    with pytest.raises(ValueError, match="questions.jsonl, line 1: no column 'question' or 'messages' among"):
        load_examples(path)


def test_examples_come_back_from_a_file_as_they_are(tmp_path: Path, repository: Path) -> None:
    examples = load_examples(repository)
    for name, write in (("a.jsonl", examples.to_json), ("a.parquet", examples.to_parquet)):
        write(tmp_path / name)
        assert load_examples(tmp_path / name).to_list() == examples.to_list()


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_meta_of_files(tmp_path: Path, ending: str) -> None:
    """Of any JSON type, or none; in a table as JSON in a cell."""
    lines = {
        "jsonl": '{"id": "a", "text": "x", "meta": {"year": 1954}}\n{"id": "b", "text": "y", "meta": "z"}\n'
        '{"text": "w"}\n{"text": "v", "meta": 7}\n',
        "csv": 'id,text,meta\na,x,"{""year"": 1954}"\nb,y,z\nc,w,\nd,v,7\n',
    }
    (tmp_path / f"corpus.{ending}").write_text(lines[ending])
    documents = load_documents(tmp_path / f"corpus.{ending}")
    assert [Passage.from_record(row, 0).meta for row in documents] == [{"year": 1954}, "z", None, 7]
