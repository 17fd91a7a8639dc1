"""Files of strangers: what they declare is bounded before it is believed, and what they hold is checked."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.forked_python import ForkedPython
from support.index_fixtures import HIDDEN, make_corpus, make_model, make_tokenizer
from support.index_mutations import seal

from onegen_hf.index import PassageIndex, parquet_pages, passage_table
from onegen_hf.index.backends.faiss import build_faiss
from onegen_hf.index.backends.faiss_installation import import_faiss
from onegen_hf.index.backends.faiss_reading import read_faiss
from onegen_hf.index.backends.faiss_structure import DamagedError, UnknownKindError, check_structure
from onegen_hf.index.passage_table import SCHEMA, PassageTable

DESCRIBED = [
    "Flat", "SQ8", "SQ4", "SQ6", "SQfp16", "SQbf16", "PQ8x4np", "HNSW8", "HNSW8_SQ8", "HNSW8,RFlat", "IVF4,Flat",
    "IVF200,Flat", "IVF4,SQ8", "IVF4,PQ8x4np", "IVF4_HNSW8,Flat", "PCA16,L2norm,Flat", "PCAR16,Flat", "RR32,SQ8",
    "L2norm,Flat", "SQ8,Refine(SQfp16)",
]  # fmt: skip


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("saved") / "index", make_tokenizer()
    PassageIndex.build(make_model(tokenizer), tokenizer, make_corpus(9), show_progress=False).save(folder)
    return folder


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_once, tmp_path / "index"))


def vectors(number: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(number, HIDDEN)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def write_faiss(factory: str, path: Path, number: int = 250) -> None:
    import_faiss().write_index(build_faiss(vectors(number), factory), str(path))


# FAISS.


@pytest.mark.parametrize("factory", DESCRIBED)
def test_the_structure_of_what_faiss_writes_is_known(factory: str, tmp_path: Path) -> None:
    write_faiss(factory, tmp_path / "i")
    check_structure(tmp_path / "i")
    content = (tmp_path / "i").read_bytes()
    for changed in (content[:-1], content + b"\0"):
        (tmp_path / "i").write_bytes(changed)
        with pytest.raises(DamagedError):
            check_structure(tmp_path / "i")


@pytest.mark.parametrize("mmap", [True, False])
def test_other_kinds_are_read_in_another_process_first(mmap: bool, tmp_path: Path) -> None:
    write_faiss("PQ8x4fs", tmp_path / "i")
    with pytest.raises(UnknownKindError):
        check_structure(tmp_path / "i")
    assert read_faiss(tmp_path / "i", mmap).ntotal == 250
    content = (tmp_path / "i").read_bytes()
    for length in (24, 30, 200, len(content) // 2):
        (tmp_path / "i").write_bytes(content[:length])
        with pytest.raises(ValueError, match="i is no readable FAISS index .*build or download it again"):
            read_faiss(tmp_path / "i", mmap)


@pytest.mark.parametrize("length", [26, 27, 28, 29, 30])
def test_the_header_that_ended_the_process(length: int, saved: Path) -> None:
    (saved / "index.faiss").write_bytes((saved / "index.faiss").read_bytes()[:length])
    seal(saved)
    with pytest.raises(ValueError, match=r"index.faiss is no readable FAISS index \(.* bytes are declared"):
        PassageIndex.load(saved)


def test_a_header_that_asks_for_gigabytes(tmp_path: Path) -> None:
    write_faiss("HNSW8", tmp_path / "i")
    content = bytearray((tmp_path / "i").read_bytes())
    content[37:45] = (10**9).to_bytes(8, "little")  # the number of levels of the graph
    (tmp_path / "i").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="its graph knows 1000000000 levels"):
        read_faiss(tmp_path / "i", mmap=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_links_that_lead_out_of_the_graph(tmp_path: Path) -> None:
    faiss = import_faiss()
    index = build_faiss(vectors(250), "HNSW8")
    links = faiss.vector_to_array(index.hnsw.neighbors)
    links[100] = 250
    faiss.copy_array_to_vector(links, index.hnsw.neighbors)
    faiss.write_index(index, str(tmp_path / "i"))
    with pytest.raises(ValueError, match="a link of its graph leads to a row that does not exist"):
        read_faiss(tmp_path / "i", mmap=True)


@pytest.mark.parametrize("row", [-1, 250, 3])
def test_rows_of_clusters(row: int, tmp_path: Path) -> None:
    write_faiss("IVF4,Flat", tmp_path / "i")
    content = (tmp_path / "i").read_bytes()
    (tmp_path / "i").write_bytes(content[:-8] + (row % 2**64).to_bytes(8, "little"))
    with pytest.raises(ValueError, match="name(s a row that does not exist| a row twice)"):
        read_faiss(tmp_path / "i", mmap=True)


# Parquet.


def write_table(path: Path, number: int, schema: Any = SCHEMA, **columns: Any) -> None:
    values = {
        "id": [f"p{row}" for row in range(number)],
        "title": ["t"] * number,
        "text": ["x"] * number,
        "sentences": [["x"]] * number,
        "embeddings": [1] * number,
        **columns,
    }
    columns = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(n).type) for n, value in values.items()
    ]
    pq.write_table(pa.table(columns, names=list(values)), path, compression="zstd", store_schema=False)


def repeated(text: str, number: int) -> pa.Array:
    """Many times one text, of which a file, and the memory of a test, hold one."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * number, pa.int32()), [text])


def test_a_small_file_that_stands_for_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "passages.parquet"
    write_table(path, 512, text=repeated("x" * 2_400_000, 512))
    assert path.stat().st_size < 5000
    code = f"""
import resource
from pathlib import Path
from onegen_hf.index.passage_table import PassageTable
table = PassageTable(Path({str(path)!r}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    table[0]
except ValueError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""
    process = ForkedPython(code)
    assert process.wait() == 0, process.stderr
    kilobytes, error = process.stdout.split(" ", 1)
    assert "is damaged (group 0 takes" in error
    assert int(kilobytes) < 100_000


def test_one_page_of_many_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "p", 1, text=["x" * 100_000_000])
    with pytest.raises(ValueError, match="a page of 'text' declares 100000"):
        PassageTable(tmp_path / "p")[0]


def test_one_passage_of_many_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "p", 1, sentences=[["x" * 1000] * 3000])
    monkeypatch.setattr(passage_table, "_MAX_GROUP_BYTES", 2_000_000)
    with pytest.raises(ValueError, match="group 0 takes 3000004 bytes, more than 2000000"):
        PassageTable(tmp_path / "p")[0]
    monkeypatch.setattr(parquet_pages, "MAX_CHUNK_VALUES", 2000)
    with pytest.raises(ValueError, match="has more than 2000 values in one group"):
        PassageTable(tmp_path / "p")[0]


def test_ids_of_many_bytes(tmp_path: Path) -> None:
    write_table(tmp_path / "p", 100, id=["x" * 1_000_000] * 100)
    with pytest.raises(ValueError, match="its ids have more than 4096 bytes on average"):
        _ = PassageTable(tmp_path / "p").ids


@pytest.mark.parametrize(
    "columns", [{"text": [None]}, {"title": [None]}, {"id": [None]}, {"sentences": [None]}, {"sentences": [[None]]}]
)
def test_texts_that_are_missing(columns: dict[str, Any], tmp_path: Path) -> None:
    write_table(tmp_path / "p", 1, **columns)
    with pytest.raises(ValueError, match=r"p is damaged \(passage 0 lacks a text\): build or download it again"):
        PassageTable(tmp_path / "p")[0]


@pytest.mark.parametrize(
    ("name", "kind"), [("text", pa.int32()), ("sentences", pa.string()), ("embeddings", pa.string())]
)
def test_columns_of_another_type(name: str, kind: pa.DataType, tmp_path: Path) -> None:
    schema = pa.schema([(field.name, kind if field.name == name else field.type) for field in SCHEMA])
    write_table(tmp_path / "p", 1, schema, **{name: [1] if kind == pa.int32() else ["1"]})
    with pytest.raises(ValueError, match=f"its column '{name}' is not one of"):
        PassageTable(tmp_path / "p")


def test_a_changed_text_shows_by_the_checksum_of_its_page(saved: Path) -> None:
    content = (saved / "passages.parquet").read_bytes()
    place = content.index(b"(\xb5/\xfd", content.index(b"(\xb5/\xfd") + 4)  # the second compressed page
    (saved / "passages.parquet").write_bytes(content[: place + 12] + b"\xff" + content[place + 13 :])
    seal(saved)
    with pytest.raises(ValueError, match="passages.parquet is damaged"):
        list(PassageIndex.load(saved))


@pytest.mark.parametrize("counts", [[2, -1, 2], [3, 0, 0], [1, 1, 2]])
def test_numbers_of_embeddings_that_cannot_be(counts: list[int], saved: Path) -> None:
    write_table(saved / "passages.parquet", 9, embeddings=[*counts, 1, 1, 1, 1, 1, 1])
    seal(saved)
    with pytest.raises(ValueError, match="do not go with 9 vectors"):
        PassageIndex.load(saved)


def test_large_passages_make_small_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage_table, "_CHARACTERS_PER_GROUP", 100)
    passage_table.write_passages(make_corpus(20), np.ones(20), tmp_path / "p")
    table = PassageTable(tmp_path / "p")
    assert list(table) == make_corpus(20)
    assert pq.read_metadata(tmp_path / "p").num_row_groups > 5


# index.json.


def test_nesting_without_an_end(saved: Path) -> None:
    (saved / "index.json").write_text('{"a":' * 200_000 + "1" + "}" * 200_000)
    with pytest.raises(ValueError, match="index.json is damaged .*save the index again"):
        PassageIndex.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "evil/model"}, {"revision": "other"}, {"factory": "HNSW32"}, {"libraries": {}}, {"more": 1}
    ],
)  # fmt: skip
def test_index_json_is_covered_by_a_checksum(change: dict[str, Any], saved: Path) -> None:
    path = saved / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match="index.json is not what was written, by its own checksum"):
        PassageIndex.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_id": "a\n# b"}, "model_id='a.n# b' is no name"),
        ({"model_id": "<script>"}, "model_id='<script>' is no name"),
        ({"model_id": 5}, "model_id=5 must be text"),
        ({"revision": "x" * 1000}, "is no name: it is longer than 500"),
        ({"factory": "Flat`\x1b[2J"}, "is no name"),
        ({"factory": None}, "factory=None must be text"),
        ({"passages": 0}, "passages=0 must be at least 1"),
        ({"embeddings": -3}, "embeddings=-3 must be at least 1"),
        ({"dimension": "32"}, "dimension='32' must be an integer"),
        ({"granularity": "word"}, "granularity='word' is unknown"),
        ({"metric": "l2"}, "metric='l2' is unknown"),
        ({"granularity": "sentence"}, "granularity: passage instead of sentence"),
        ({"fingerprint": {"facts": {}, "probes": [[float("nan")] * 32]}}, "fingerprint is damaged"),
        ({"backend": 5}, "has the backend 5, and this release knows"),
    ],
)  # fmt: skip
def test_values_that_index_json_cannot_have(change: dict[str, Any], message: str, saved: Path) -> None:
    path = saved / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    seal(saved)
    with pytest.raises(ValueError, match=message):
        PassageIndex.load(saved)


# Links.


@pytest.mark.parametrize("name", ["index.faiss", "passages.parquet", "index.json"])
def test_a_link_out_of_the_folder(name: str, saved: Path, tmp_path: Path) -> None:
    shutil.move(saved / name, tmp_path / "elsewhere")
    (saved / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=f"{name} is a link to .*elsewhere, which is not in the folder of the index"):
        PassageIndex.load(saved)


def test_the_links_of_the_hubs_cache(saved: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "datasets--org--films" / "snapshots" / "abc"
    blobs = snapshot.parents[1] / "blobs"
    snapshot.mkdir(parents=True), blobs.mkdir()
    for number, file in enumerate(sorted(saved.iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    assert len(PassageIndex.load(snapshot)) == 9
    (blobs / "0").unlink()
    (blobs / "0").symlink_to(saved / "index.faiss")
    with pytest.raises(ValueError, match="which is not in the folder of the index"):
        PassageIndex.load(snapshot)


def test_a_folder_that_is_itself_a_link(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(saved, target_is_directory=True)
    assert len(PassageIndex.load(tmp_path / "link")) == 9
