"""Files of different indexes are told apart, also where size and number of rows are the same, without reading them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.index_fixtures import make_corpus, make_model, make_tokenizer

from onegen_hf.index import PassageIndex
from onegen_hf.index.backends.faiss_installation import import_faiss
from onegen_hf.index.checksum import BLOCK, MOST_BLOCKS, sampled_sha256


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two indexes of the same model and number of passages, whose files have the same sizes."""
    tokenizer, root = make_tokenizer(), tmp_path_factory.mktemp("twins")
    corpus = make_corpus(6)
    other = [replace(corpus[0], text=corpus[0].text.replace("red", "tin")), *corpus[1:]]
    for name, passages in (("one", corpus), ("two", other)):
        PassageIndex.build(make_model(tokenizer), tokenizer, passages, show_progress=False).save(root / name)
    return root / "one", root / "two"


@pytest.mark.parametrize("name", ["index.faiss", "passages.parquet"])
def test_a_file_of_another_index_of_the_same_size(name: str, twins: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = twins
    mixed = Path(shutil.copytree(one, tmp_path / "mixed"))
    shutil.copy(two / name, mixed / name)
    content = json.loads((mixed / "index.json").read_text())
    content["files"][name] = (two / name).stat().st_size  # Parquet is compressed: a byte more or less
    (mixed / "index.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name} has another content than index.json says.*force_download=True"):
        PassageIndex.load(mixed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": {}}, "bytes and index.json says None"),
        ({"files": []}, "'files' is no object"),
        ({"checksums": "abc"}, "'checksums' is no object"),
        ({"files": {"../index.faiss": 1}}, "names the file '../index.faiss', which is not beside it"),
        ({"files": {"/etc/passwd": 1}}, "names the file '/etc/passwd', which is not beside it"),
        ({"files": {"..\\index.faiss": 1}}, "which is not beside it"),
    ],
)
def test_descriptions_that_mean_no_good(change: Any, message: str, twins: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(twins[0], tmp_path / "copy"))
    content = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ValueError, match=message.replace("\\", r"\\").replace("..", r"\.\.")):
        PassageIndex.load(copy)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("exists", [True, False])
def test_lists_in_another_file(mmap: bool, exists: bool, twins: tuple[Path, Path], tmp_path: Path) -> None:
    """FAISS would open the file that is named, to read and to write, and search what it holds."""
    copy, other = Path(shutil.copytree(twins[0], tmp_path / "copy")), tmp_path / "of-this-machine"
    faiss = import_faiss()
    vectors = faiss.read_index(str(copy / "index.faiss")).reconstruct_n(0, 6)
    index = faiss.index_factory(vectors.shape[1], "IVF1,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    lists = faiss.OnDiskInvertedLists(1, index.code_size, str(other))
    index.replace_invlists(lists)
    index.add(vectors)
    faiss.write_index(index, str(copy / "index.faiss"))
    del index, lists
    if not exists:
        other.unlink()
    content = json.loads((copy / "index.json").read_text())
    content["files"]["index.faiss"] = (copy / "index.faiss").stat().st_size
    del content["checksums"]
    (copy / "index.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="index.faiss keeps its lists in another file.*don't use this index"):
        PassageIndex.load(copy, mmap=mmap)


def test_without_checksums_it_loads_as_before(twins: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(twins[0], tmp_path / "copy"))
    content = json.loads((copy / "index.json").read_text())
    del content["checksums"]
    (copy / "index.json").write_text(json.dumps(content))
    assert len(PassageIndex.load(copy)) == 6


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK * MOST_BLOCKS - 1, BLOCK * MOST_BLOCKS])
def test_small_files_are_read_as_a_whole(size: int, tmp_path: Path) -> None:
    import hashlib

    content = bytes(number % 251 for number in range(997)) * (size // 997 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sampled_sha256(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_large_files_are_sampled_with_both_ends(tmp_path: Path) -> None:
    path, size = tmp_path / "file", 10 * BLOCK * MOST_BLOCKS
    with open(path, "wb") as file:
        file.truncate(size)  # sparse: no such disk is used
    plain, seen = sampled_sha256(path), set()
    for position in (0, size - 1, size // 2 + 3 * BLOCK):
        with open(path, "rb+") as file:
            file.seek(position)
            file.write(b"x" * (1 if position in (0, size - 1) else 10 * BLOCK))
        seen.add(sampled_sha256(path))
    assert len(seen | {plain}) == 4
