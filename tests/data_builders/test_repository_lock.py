"""Two builds into one folder, and what killed ones leave behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from datasets import Dataset, load_dataset
from support.sample_corpus import DOCUMENTS, EXAMPLES

from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.parquet_export import write_repository
from data_builders.repository import RepositoryLockedError, replaced_repository

HOLDS = """
    import sys, time
    from data_builders.repository import replaced_repository
    with replaced_repository(sys.argv[1]) as folder:
        (folder / "README.md").write_text("half")
        print("writing", flush=True)
        time.sleep(600)
"""


def write(folder: Path) -> list[Path]:
    documents = Dataset.from_list(DOCUMENTS, features=DOCUMENTS_FEATURES)
    rows = [{**row, "meta": "{}"} for row in EXAMPLES]
    examples = {"train": Dataset.from_list(rows, features=EXAMPLES_FEATURES)}
    return write_repository(folder, documents, examples, title="x")


def test_the_second_of_two_builds_is_refused_at_once_and_harms_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    with replaced_repository(tmp_path) as unfinished:
        (unfinished / "documents").mkdir()
        (unfinished / "documents/train.parquet").write_bytes(b"first")
        for second in (lambda: replaced_repository(tmp_path).__enter__(), lambda: write(tmp_path)):
            with pytest.raises(RepositoryLockedError, match="another build is writing this folder"):
                second()
        assert (unfinished / "documents/train.parquet").read_bytes() == b"first"
    assert (tmp_path / "documents/train.parquet").read_bytes() == b"first"
    write(tmp_path)
    assert len(load_dataset(str(tmp_path), "documents", split="train")) == len(DOCUMENTS)


def test_a_killed_build_holds_no_lock_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDS), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        with pytest.raises(RepositoryLockedError):
            write(tmp_path)
        process.kill()
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents/.train.parquet.123.tmp").write_bytes(b"half")
    write(tmp_path)
    with replaced_repository(tmp_path):
        pass
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not any(name.endswith(".tmp") for name in left) and not (tmp_path / ".building").exists()
