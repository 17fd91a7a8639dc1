"""The paper's files become documents and examples, and the same files again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_builders.documents import DocumentStore
from data_builders.errors import RecordError
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.paper import PaperConverter, to_paper_files
from data_builders.paper.__main__ import main
from data_builders.parquet_export import write_repository
from data_builders.schema import validate_example

Records = list[dict[str, Any]]


def entry(uid: Any, *sentences: str, token: str = "[RD]", **more: Any) -> dict[str, Any]:
    """A record of db.jsonl in the published layout."""
    messages = []
    for sentence in sentences:
        messages += [{"role": "user", "content": sentence}, {"role": "assistant", "content": token}]
    return {"uid": uid, "messages": messages, **more}


def row(positive: Any, negative: Any = None, *, content: str = "", uid: Any = "t1", **more: Any) -> dict[str, Any]:
    """A record of train.jsonl."""
    content = content or "Who? [RQ] <paragraph>a</paragraph>" * len(positive)
    record = {"uid": uid, "messages": [{"role": "user", "content": "Ask."}, {"role": "assistant", "content": content}]}
    record.update({"positive": positive, "negative": negative} if negative is not None else {"positive": positive})
    return {**record, **more}


DB = [
    entry("d1", "wiki title: Elm Hill\ncontent: It is a hill.", " It is high.", "It is old."),
    entry("d2", "A boat."),
    entry("Jean-Paul", "A sailor.", "He sails."),
    entry("C#", "A note.", "A language."),
]


def convert(db: Records, train: Records, **options: Any) -> tuple[DocumentStore, Records]:
    converter, store = PaperConverter(**options), DocumentStore()
    for record in db:
        converter.add_corpus_record(record, store)
    examples = [converter.example(record, store, f"row {number}") for number, record in enumerate(train)]
    for example in examples:
        validate_example(example, store, converter.query_token)
    return store, examples


def write(store: DocumentStore, examples: Records, folder: Path) -> Path:
    documents = Dataset.from_list([document.as_record() for document in store], features=DOCUMENTS_FEATURES)
    split = Dataset.from_list(examples, features=EXAMPLES_FEATURES)
    write_repository(folder, documents, {"train": split}, title="A test")
    return folder


def read(path: Path) -> Records:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def exact(records: Iterable[Any]) -> list[str]:
    """As text, since `1 == 1.0 == True` in Python."""
    return [json.dumps(record, sort_keys=True) for record in records]


def assert_round_trip(db: Records, train: Records, folder: Path, **options: Any) -> None:
    to_paper_files(write(*convert(db, train, **options), folder / "repository"), folder / "out")
    assert exact(read(folder / "out" / "db.jsonl")) == exact(db)
    assert exact(read(folder / "out" / "train.jsonl")) == exact(train)


def test_the_published_layout_becomes_our_schema() -> None:
    record = row([["d1-1", "d2"], [], ["Jean-Paul-1"]], [["d1-0"], ["C#-1"], []], content="a[RQ]b[RQ]c[RQ]")
    store, [example] = convert(DB, [record])
    assert [document.as_record() for document in store] == [
        {"id": "d1", "title": "Elm Hill", "sentences": ["It is a hill.", " It is high.", "It is old."]},
        {"id": "d2", "title": "", "sentences": ["A boat."]},
        {"id": "Jean-Paul", "title": "", "sentences": ["A sailor.", "He sails."]},
        {"id": "C%23", "title": "", "sentences": ["A note.", "A language."]},
    ]
    assert example["id"] == "t1"
    assert example["messages"] == record["messages"]
    assert example["positives"] == [["d1#1", "d2"], [], ["Jean-Paul#1"]]
    assert example["negatives"] == [["d1#0"], ["C%23#1"], []]
    assert example["question"] == "Ask."


def test_without_a_sentence_the_first_is_meant() -> None:
    _, [example] = convert(DB, [row([["d1"]], [["Jean-Paul"]])])
    assert (example["positives"], example["negatives"]) == ([["d1#0"]], [["Jean-Paul#0"]])


def test_an_id_that_ends_in_a_number_is_found_first() -> None:
    db = [entry("a", "One.", "Two."), entry("a-1", "Three.")]
    _, [example] = convert(db, [row([["a-1"], ["a-0"], ["a-1-0"]])])
    assert example["positives"] == [["a-1"], ["a#0"], ["a-1#0"]]


@pytest.mark.parametrize("token", ["[LK]", "[Question Representation]"])
def test_the_query_token_is_found(token: str) -> None:
    train = [
        row([], content="Nothing to find."),
        row([["d2"]], content=f"a{token}b"),
        row([["d1-2"]], content=f"{token}"),
    ]
    _, examples = convert(DB, train)
    assert [example["positives"] for example in examples] == [[], [["d2"]], [["d1#2"]]]


def test_tokens_are_renamed_and_named_back(tmp_path: Path) -> None:
    train = [row([["d2"]], content="<MENTION>a</MENTION>[Question Representation][_CONTINUE_] and [RQ]")]
    options = {"rename_tokens": ["[_CONTINUE_]=[CON]"], "query_token": "[Question Representation]"}
    _, [example] = convert(DB, train, **options)
    assert example["messages"][1]["content"].endswith("[Question Representation][CON] and [RQ]")
    assert_round_trip(DB, train, tmp_path, **options)
    _, [example] = convert(
        DB, [row([["d2"]], content="a[Question Representation]")], rename_tokens=["[Question Representation]=[RQ]"]
    )
    assert example["messages"][1]["content"] == "a[RQ]"


@pytest.mark.parametrize(
    "train",
    [
        [row([["d1-1", "d2"], []], [["d2-0"], ["d1-2"]])],
        [row([["d2"]])],
        [row(["d2", None], [[], []])],
        [row([["d1-01"]], [["d1-00"]])],
        [row([["d1"]])],
        [row([["d1-1"]], [["d1-1", "d2", "d2", None]])],
        [row([["d2"]], uid=7, source="x", positive_titles=["A"], score=1.0)],
        [row([], content="No token.")],
        [{"messages": [{"role": "assistant", "content": "No id and no positive."}]}],
        [row([["C#-1"], ["Jean-Paul-0"], ["Jean-Paul"]], [["Jean-Paul-1"], [], ["C#"]])],
        [row([["d2"]], uid=1), row([["d2"]], uid="1", content="é \U0001f6a3 [RQ]")],
    ],
)
def test_the_files_are_written_again(train: Records, tmp_path: Path) -> None:
    assert_round_trip(DB, train, tmp_path)


def test_lists_in_the_messages_are_read_and_written_again(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Ask."},
        {"role": "assistant", "content": "a[RQ]b[RQ]", "positive": [["d1-1"], ["d2"]], "negative": [["d2"], []]},
        {"role": "user", "content": "Ask again."},
        {"role": "assistant", "content": "c[RQ]", "positive": [["C#-0"]], "negative": [["d1-0"]]},
    ]
    train = [{"uid": "t1", "messages": messages}]
    _, [example] = convert(DB, train)
    assert example["positives"] == [["d1#1"], ["d2"], ["C%23#0"]]
    assert example["negatives"] == [["d2"], [], ["d1#0"]]
    assert "difference" not in json.loads(example["meta"])["paper"]
    assert_round_trip(DB, train, tmp_path)


@pytest.mark.parametrize(
    ("record", "title", "sentences"),
    [
        ({"uid": 5, "sentences": ["One.", "Two."], "title": "T"}, "T", ["One.", "Two."]),
        ({"id": "5", "text": "One."}, "", ["One."]),
        ({"uid": "5", "content": ["One.", "Two."], "note": {"a": 1}}, "", ["One.", "Two."]),
        (entry("5", "One.", "Two.", token=" [SE]\n"), "", ["One.", "Two."]),
        ({"uid": "5", "messages": [{"role": "assistant", "content": "One.[SE] Two.[SE]"}]}, "", ["One.", " Two."]),
        (
            {
                "uid": "5",
                "messages": [
                    {"role": "user", "content": "Say it after '[SE]': "},
                    {"role": "assistant", "content": "One.[SE]"},
                ],
            },
            "",
            ["Say it after '[SE]': One."],
        ),
        ({"uid": "5", "messages": [{"role": "user", "content": "No token."}]}, "", ["No token."]),
    ],
)
def test_other_layouts_of_documents(record: dict[str, Any], title: str, sentences: list[str], tmp_path: Path) -> None:
    store, _ = convert([record], [])
    assert store["5"].as_record() == {"id": "5", "title": title, "sentences": sentences}
    assert_round_trip([*DB, record], [row([["5"]])], tmp_path)
    assert_round_trip([record, *DB], [row([["5-0"]])], tmp_path)


def test_titles_can_stay_in_the_text(tmp_path: Path) -> None:
    store, _ = convert(DB, [], title_template="")
    assert store["d1"].title == ""
    assert store["d1"].sentences[0] == "wiki title: Elm Hill\ncontent: It is a hill."
    assert_round_trip(DB, [row([["d1-2"]])], tmp_path, title_template="")


@pytest.mark.parametrize(("reference", "reason"), [("d9-0", "unknown_document"), ("d1-3", "unknown_sentence")])
def test_unknown_references_stop_or_are_kept_aside(reference: str, reason: str, tmp_path: Path) -> None:
    train = [row([[reference, "d2"], [reference]], [[], [reference]])]
    with pytest.raises(RecordError, match="leave_out") as error:
        convert(DB, train)
    assert error.value.reason == reason
    _, [example] = convert(DB, train, unknown_references="leave_out")
    assert (example["positives"], example["negatives"]) == ([["d2"], []], [[], []])
    assert_round_trip(DB, train, tmp_path, unknown_references="leave_out")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"uid": "t1", "positive": []}, "malformed_field"),
        ({"uid": "t1", "messages": [{"role": "user"}], "positive": []}, "malformed_field"),
        (row([["d2"]], content="a[RQ]b[RQ]"), "invalid_example"),
        (row([["d2"], ["d2"]], [["d1-0"]]), "invalid_example"),
        (row("d2", content="[RQ]"), "malformed_field"),
        (row([[["d2"]]]), "malformed_field"),
        (row([[True]]), "malformed_field"),
        (row(None, content="a[LK]"), "missing_field"),
    ],
)
def test_malformed_rows_are_refused_by_reason(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordError) as error:
        convert(DB, [record])
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "record",
    [
        {"messages": []},
        {"uid": "d", "messages": []},
        {"uid": "d"},
        {"uid": True, "text": "a"},
        {"uid": "d", "sentences": [1]},
    ],
)
def test_malformed_documents_are_refused(record: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        PaperConverter().add_corpus_record(record, DocumentStore())


@pytest.mark.parametrize(
    "options",
    [
        {"unknown_references": "drop"},
        {"num_negatives": -1},
        {"title_template": "{text}: {title}"},
        {"rename_tokens": ["[RQ]"]},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PaperConverter(**options)


def test_the_number_of_negatives_can_be_bounded(tmp_path: Path) -> None:
    train = [row([["d2"]], [["d1-0", "d1-1", "C#-0"]])]
    _, [example] = convert(DB, train, num_negatives=2)
    assert example["negatives"] == [["d1#0", "d1#1"]]
    assert_round_trip(DB, train, tmp_path, num_negatives=2)


def test_the_command_line_writes_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [row([["d2"]])]
    main([str(write(*convert(DB, train), tmp_path / "repository")), str(tmp_path / "out")])
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out" / name) for name in ("db.jsonl", "train.jsonl")
    ]
    assert read(tmp_path / "out" / "train.jsonl") == train


# Both ways, whatever the records.

TEXT = st.text(alphabet="ab #-%0\n\U0001f6a3", max_size=5)
UIDS = st.sampled_from(["a", "a-1", "1", "#", "a#0", "a%23", "-", "x-y", 3, 12])


@st.composite
def files(draw: st.DrawFn) -> tuple[Records, Records]:
    uids = draw(st.lists(UIDS, min_size=1, max_size=5, unique_by=lambda uid: str(uid).replace("#", "%23")))
    title = st.sampled_from(["", "wiki title: a\ncontent: ", "wiki title: "])
    db: Records = []
    for uid in uids:
        texts = draw(st.lists(TEXT, min_size=1, max_size=3))
        record = entry(uid, draw(title) + texts[0], *texts[1:], token=draw(st.sampled_from(["[RD]", "[SE]"])))
        db.append(draw(st.sampled_from([record, {**record, "kind": 1}, {"uid": uid, "sentences": texts}])))
    references = [uid for uid in uids] + [f"{uid}-0" for uid in uids] + ["unknown"]
    entries = st.lists(st.sampled_from(references), max_size=3)
    train: Records = []
    for number in range(draw(st.integers(1, 3))):
        positive = draw(st.lists(entries | st.sampled_from([*references, None]), max_size=3))
        negative = [draw(entries) for _ in positive]
        content = draw(TEXT) + "".join(f"[RQ]{draw(TEXT)}" for _ in positive)
        train.append(row(positive, negative, content=content or "a", uid=draw(st.sampled_from([number, str(number)]))))
    return db, train


QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(both=files())
def test_files_to_repository_and_back(both: tuple[Records, Records], tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_round_trip(*both, tmp_path_factory.mktemp("files"), unknown_references="leave_out")


@st.composite
def repositories(draw: st.DrawFn) -> tuple[Records, Records]:
    ids = draw(st.lists(st.sampled_from(["a", "a-1", "b#2", "x%23", "wiki"]), min_size=1, max_size=4, unique=True))
    title = st.sampled_from(["", "T", "T\ncontent: U"])
    documents = [
        {"id": i, "title": draw(title), "sentences": draw(st.lists(TEXT, min_size=0 if n else 1, max_size=3))}
        for n, i in enumerate(ids)
    ]
    references = ids + [f"{d['id']}#{n}" for d in documents for n in range(len(d["sentences"]))]
    examples = []
    for number in range(draw(st.integers(1, 3))):
        positives = draw(st.lists(st.lists(st.sampled_from(references), max_size=2, unique=True), max_size=3))
        examples.append(
            {
                "id": f"e{number}",
                "messages": [
                    {"role": "user", "content": "Ask."},
                    {"role": "assistant", "content": "[RQ]" * len(positives)},
                ],
                "positives": positives,
                "negatives": [[] for _ in positives],
                "question": draw(TEXT),
                "answers": draw(st.lists(TEXT, max_size=2)),
                "meta": draw(st.sampled_from(["{}", '{"type": "bridge"}'])),
            }
        )
    return documents, examples


@QUICK
@given(both=repositories())
def test_repository_to_files_and_back(both: tuple[Records, Records], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("repository")
    store = DocumentStore()
    for record in both[0]:
        store.add_record({**record, "sentences": [text for text in record["sentences"]]})
    documents = [document.as_record() for document in store]
    to_paper_files(write(store, both[1], folder / "repository"), folder / "out")
    again, examples = convert(read(folder / "out" / "db.jsonl"), read(folder / "out" / "train.jsonl"))
    assert [document.as_record() for document in again] == documents
    assert examples == both[1]
