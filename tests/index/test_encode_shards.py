"""Encoding in shards: the same bytes however many workers there are, and every fault by name."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.index_fixtures import CountedEmbed, make_corpus, make_model
from support.shard_workers import contents, encode_with_kills, start_worker

from onegen_hf import Passage
from onegen_hf.data.splitting import split_passage
from onegen_hf.data.streaming import stream_documents
from onegen_hf.index import encode_shards
from onegen_hf.index.encode import encode_passages
from onegen_hf.index.shards.layout import ShardFolder
from onegen_hf.index.shards.leases import Leases
from onegen_hf.index.shards.manifest import Manifest
from onegen_hf.index.shards.staging import CorpusSettings, stage

SHARD = 16


def encode(model: Any, tokenizer: Any, passages: Any, folder: Path, **options: Any) -> Manifest:
    return encode_shards(
        model, tokenizer, passages, folder, **{"shard_size": SHARD, "show_progress": False, **options}
    )


def vectors_of(manifest: Manifest) -> np.ndarray:
    return np.concatenate([np.asarray(shard.vectors, np.float32) for shard in manifest.shards()])


def passages_of(manifest: Manifest) -> list[Passage]:
    return [passage for shard in manifest.shards() for passage in shard.passages()]


# What comes out.


@pytest.mark.parametrize("granularity", ["passage", "sentence"])
@pytest.mark.parametrize("number", [1, 15, 16, 17, 40])
def test_a_shard_has_the_embeddings_of_its_passages_alone(
    tokenizer: Any, tmp_path: Path, granularity: str, number: int
) -> None:
    model, corpus = make_model(tokenizer, granularity=granularity), make_corpus(number)
    manifest = encode(model, tokenizer, corpus, tmp_path)
    expected = [
        encode_passages(model, tokenizer, corpus[start : start + SHARD], show_progress=False).embeddings
        for start in range(0, number, SHARD)
    ]
    np.testing.assert_array_equal(vectors_of(manifest), np.concatenate(expected))
    assert passages_of(manifest) == corpus
    counts = np.concatenate([shard.counts for shard in manifest.shards()])
    assert counts.tolist() == [len(p.sentences) if granularity == "sentence" else 1 for p in corpus]
    assert (manifest.num_passages, manifest.num_vectors) == (number, counts.sum())


def test_only_the_result_stays(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == [
        "corpus.json", "encoding.json", "manifest.json", "shards"
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "1" / "shards" / "00000000").iterdir()) == [
        "embeddings.safetensors", "passages.parquet", "shard.json"
    ]  # fmt: skip


def test_float16_on_disk(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    exact = vectors_of(encode(model, tokenizer, make_corpus(20), tmp_path / "float32"))
    manifest = encode(model, tokenizer, make_corpus(20), tmp_path / "float16", precision="float16")
    assert next(manifest.shards()).vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors_of(manifest), exact.astype(np.float16).astype(np.float32))


def test_sources(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = [Passage(p.id, p.title, p.text, (), {"n": n}) for n, p in enumerate(make_corpus(20))]
    records = [{"id": p.id, "title": p.title, "text": p.text, "meta": p.meta} for p in corpus]
    lines = tmp_path / "corpus.jsonl"
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    dataset = Dataset.from_list(records)
    dataset.save_to_disk(tmp_path / "saved")
    (tmp_path / "repository" / "documents").mkdir(parents=True)
    dataset.to_parquet(tmp_path / "repository" / "documents" / "train-00000.parquet")
    (tmp_path / "repository" / "README.md").write_text(
        "---\nconfigs:\n- config_name: documents\n"
        "  data_files:\n  - {split: train, path: documents/train-*.parquet}\n---\n"
    )
    expected = None
    sources = {
        "list": corpus,
        "generator": (record for record in records),
        "dataset": dataset,
        "stream": dataset.to_iterable_dataset(),
        "lines": stream_documents(lines),
        "saved": stream_documents(tmp_path / "saved"),
        "repository": stream_documents(tmp_path / "repository"),
    }
    for name, source in sources.items():
        encode(model, tokenizer, source, tmp_path / "shards" / name)
        actual = contents(tmp_path / "shards" / name)
        expected = expected or actual
        assert actual == expected, name


def test_long_passages_are_split_over_streams(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = [Passage(f"p{n}", f"Title {n}", "A kite is red. " * (1 + n % 7), (), n) for n in range(40)]
    manifest = encode(model, tokenizer, iter(corpus), tmp_path, max_tokens_per_passage=20)
    from onegen_hf.data.passages import PassageEncoder

    encoder = PassageEncoder(tokenizer, model.onegen_config)
    assert passages_of(manifest) == [piece for p in corpus for piece in split_passage(p, encoder, 20)]
    assert manifest.num_passages > 40 and sum(summary.split for summary in manifest.summaries) > 0


def test_repeated_texts_are_left_out(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(30)
    copies = [Passage(f"copy-{p.id}", p.title, p.text, p.sentences) for p in corpus[:20]]
    manifest = encode(model, tokenizer, [*corpus, *copies], tmp_path, deduplicate=True)
    assert passages_of(manifest) == corpus
    everything = encode(model, tokenizer, [*corpus, *copies], tmp_path / "all")
    assert everything.num_passages == 50


def test_truncation_is_counted(tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tokenizer, max_embedded_tokens=12)
    with caplog.at_level(logging.WARNING):
        encode(model, tokenizer, [*make_corpus(20), Passage("long", "", "A kite is red. " * 9)], tmp_path)
    assert "of 21 passages were cut before embedding" in caplog.text


# Workers.


def test_workers_split_the_shards(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(300)
    encode(model, tokenizer, corpus, tmp_path / "one")
    log = tmp_path / "log"
    workers = [start_worker(log, model, tokenizer, corpus, tmp_path / "many", shard_size=SHARD) for _ in range(3)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    assert sorted(log.read_text().split()) == [f"{shard:08d}" for shard in range(19)], "a shard was written twice"


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_killed_workers_are_replaced(model: Any, tokenizer: Any, tmp_path: Path, seed: int) -> None:
    corpus = make_corpus(400)
    encode(model, tokenizer, corpus, tmp_path / "one")
    log = tmp_path / "log"
    arguments = (model, tokenizer, corpus, tmp_path / "many")
    killed = encode_with_kills(log, seed, 4, 2, 0.4, *arguments, shard_size=SHARD)
    assert killed > 0
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    written = log.read_text().split()
    assert len(set(written)) >= 25 - killed  # a kill may hit between the writing of a shard and that of the log
    assert len(written) == len(set(written)), "a finished shard was encoded again"


@pytest.mark.slow
def test_two_workers_take_half_the_time(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """Where the model is what takes the time, and each worker has an accelerator of its own."""
    embed = model.embed

    def on_an_accelerator(*args: Any) -> Any:
        time.sleep(0.4)
        return embed(*args)

    model.embed = on_an_accelerator
    seconds = []
    for workers in (1, 2):
        start = time.monotonic()
        running = [
            start_worker(tmp_path / "log", model, tokenizer, make_corpus(40 * SHARD), tmp_path / str(workers), SHARD)
            for _ in range(workers)
        ]
        for worker in running:
            worker.join(60)
            assert worker.exitcode == 0
        seconds.append(time.monotonic() - start)
    assert seconds[0] > 1.7 * seconds[1], seconds


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_many_killed_workers(model: Any, tokenizer: Any, tmp_path: Path, seed: int) -> None:
    corpus = make_corpus(2000)
    encode(model, tokenizer, corpus, tmp_path / "one", deduplicate=True)
    arguments = (model, tokenizer, corpus, tmp_path / "many")
    killed = encode_with_kills(tmp_path / "log", seed, 25, 3, 0.3, *arguments, shard_size=SHARD, deduplicate=True)
    assert killed > 5
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    written = (tmp_path / "log").read_text().split()
    assert len(written) == len(set(written)), "a finished shard was encoded again"


def test_it_goes_on_where_it_was_interrupted(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(60)
    encode(model, tokenizer, corpus, tmp_path / "whole")
    interrupted = CountedEmbed(make_model(tokenizer), fail_at=2)
    with pytest.raises(KeyboardInterrupt):
        encode(interrupted._embed.__self__, tokenizer, corpus, tmp_path / "shards")
    assert ShardFolder(tmp_path / "shards" / "1").finished()
    counted = CountedEmbed(model)
    encode(model, tokenizer, corpus, tmp_path / "shards")
    assert 0 < sum(counted.rows) < 60 + 4  # and the probes of the fingerprint
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
    encode(model, tokenizer, corpus, tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")


def test_staging_goes_on_after_a_kill(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = make_corpus(60)
    encode(model, tokenizer, corpus, tmp_path / "whole")

    def breaking() -> Iterator[Passage]:
        yield from corpus[:40]
        raise OSError("the network is down")

    with pytest.raises(OSError, match="network is down"):
        encode(model, tokenizer, breaking(), tmp_path / "shards")
    assert ShardFolder(tmp_path / "shards" / "1").num_staged() == 2
    encode(model, tokenizer, corpus, tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")


def test_a_worker_waits_for_the_shard_of_another_one(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus, folder = make_corpus(30), ShardFolder(tmp_path / "1")
    leases = Leases(folder.leases, 60.0)
    with leases.claim("shard-00000001") as lease:
        assert lease is not None
        worker = start_worker(tmp_path / "log", model, tokenizer, corpus, tmp_path, shard_size=SHARD)
        end = time.monotonic() + 30
        while folder.finished() != {0} and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        assert folder.finished() == {0} and worker.is_alive()
        os.utime(lease.path, (0, 0))  # as if this worker had been silent for long
        worker.join(30)
        assert worker.exitcode == 0
        with pytest.raises(Exception, match="taken over"):
            lease.check()


def test_progress_counts_all_workers(
    model: Any, tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(model, tokenizer, make_corpus(40), tmp_path, show_progress=True)
    shown = capsys.readouterr().err
    assert "Encoding" in shown and "40/40" in shown and "passage/s" in shown
    encode(model, tokenizer, make_corpus(40), tmp_path / "quiet")
    assert capsys.readouterr().err == ""


# Faults.


@pytest.mark.parametrize(
    ("corpus", "error", "message"),
    [
        ([], ValueError, "the corpus is empty"),
        ([*make_corpus(20), Passage("x", " ", "\n")], ValueError, r"passage 20 \(id 'x'\) has no text"),
        ([*make_corpus(20), make_corpus(3)[2]], ValueError, "the id 'p2' stands for passage 2 and for passage 20"),
        ([*make_corpus(3), Passage("x", "", "caf\ud83d")], ValueError, r"\(id 'x'\).*half of a surrogate pair"),
        ([*make_corpus(3), 5], TypeError, "passage 3 is a int"),
        ("A kite.", TypeError, "single text"),
    ],
    ids=["empty", "blank", "same id", "surrogate", "no passage", "one text"],
)
def test_faulty_corpus(
    model: Any, tokenizer: Any, tmp_path: Path, corpus: Any, error: type[Exception], message: str
) -> None:
    counted = CountedEmbed(model)
    with pytest.raises(error, match=message):
        encode(model, tokenizer, corpus, tmp_path)
    assert sum(counted.rows) <= 4, "a passage was encoded"  # only the fingerprint


def test_every_worker_reports_a_faulty_corpus(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = [*make_corpus(30), make_corpus(1)[0]]
    workers = [start_worker(tmp_path / "log", model, tokenizer, corpus, tmp_path / "s") for _ in range(2)]
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 1


def test_the_id_of_a_piece(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    corpus = [Passage("a", "", "A kite is red. " * 9), *make_corpus(20), Passage("a#1", "", "A boat.")]
    with pytest.raises(ValueError, match="the id 'a#1' stands for a passage and for a piece of another one"):
        encode(model, tokenizer, corpus, tmp_path, max_tokens_per_passage=20)


def test_passage_beyond_the_context(tokenizer: Any, tmp_path: Path) -> None:
    model = make_model(tokenizer, max_embedded_tokens=400)
    corpus = [*make_corpus(20), Passage("long", "", "kite " * 300)]
    with pytest.raises(ValueError, match=r"shard 1: passage 4 \(id 'long'\) takes .* the model's context of 128"):
        encode(model, tokenizer, corpus, tmp_path)


def test_not_a_number(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    embed = model.embed

    def broken(ids: Any, *rest: Any) -> Any:
        embeddings = embed(ids, *rest)
        return embeddings * float("nan") if len(ids) > 4 else embeddings

    model.embed = broken
    with pytest.raises(ValueError, match=r"shard 0: passage \d+ \(id 'p\d+'\): embedding .* holds NaN"):
        encode(model, tokenizer, make_corpus(20), tmp_path)


@pytest.mark.parametrize("name", ["embeddings.safetensors", "passages.parquet", "shard.json"])
def test_a_damaged_shard(model: Any, tokenizer: Any, tmp_path: Path, name: str) -> None:
    encode(model, tokenizer, make_corpus(40), tmp_path)
    before = contents(tmp_path)
    shard = tmp_path / "1" / "shards" / "00000001"
    (shard / name).write_bytes((shard / name).read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"{shard.name}.*damaged|{name} has .* bytes instead of"):
        list(Manifest.read(ShardFolder(tmp_path / "1")).shards())
    for file in shard.iterdir():
        file.unlink()
    shard.rmdir()
    (tmp_path / "1" / "manifest.json").unlink()
    encode(model, tokenizer, make_corpus(40), tmp_path)
    assert contents(tmp_path) == before


def test_another_model(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    with pytest.raises(ValueError, match="shards of another model, or of other settings: other weights"):
        encode(make_model(tokenizer, seed=1), tokenizer, make_corpus(20), tmp_path)
    with pytest.raises(ValueError, match="granularity"):
        encode(make_model(tokenizer, granularity="sentence"), tokenizer, make_corpus(20), tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 8}, "batch_size was 32 and is now 8"),
        ({"precision": "float16"}, "precision was 'float32' and is now 'float16'"),
        ({"max_tokens_per_passage": 20}, "max_tokens_per_passage was None and is now 20"),
        ({"shard_size": 8}, "shard_size was 16 and is now 8"),
        ({"deduplicate": True}, "deduplicate was False and is now True"),
    ],
)
def test_other_settings(model: Any, tokenizer: Any, tmp_path: Path, changed: Any, message: str) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    with pytest.raises(ValueError, match=message):
        encode(model, tokenizer, make_corpus(20), tmp_path, **changed)


def test_another_corpus(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    encode(model, tokenizer, make_corpus(20), tmp_path)
    for corpus in (make_corpus(21), [Passage("x", "", "A boat."), *make_corpus(20)[1:]]):
        with pytest.raises(ValueError, match="holds the shards of another corpus"):
            encode(model, tokenizer, corpus, tmp_path)
    lines = tmp_path / "corpus.jsonl"
    lines.write_text('{"id": "a", "text": "A kite."}\n')
    encode(model, tokenizer, stream_documents(lines), tmp_path / "lines")
    lines.write_text('{"id": "a", "text": "A kite."}\n{"id": "b", "text": "A boat."}\n')
    with pytest.raises(ValueError, match="or the corpus has changed since"):
        encode(model, tokenizer, stream_documents(lines), tmp_path / "lines")


def test_half_staged_shards_of_another_corpus(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    settings = CorpusSettings(None, SHARD, False)
    folder = ShardFolder(tmp_path / "1")
    settings.join(folder)

    def breaking() -> Iterator[Passage]:
        yield from make_corpus(20)
        raise OSError("gone")

    from onegen_hf.data.streaming import PassageStream

    with pytest.raises(OSError, match="gone"):
        stage(folder, PassageStream.of(breaking()), settings, lambda passages: None)
    with pytest.raises(ValueError, match="holds the shards of another corpus"):
        encode(model, tokenizer, list(reversed(make_corpus(20))), tmp_path)


def test_a_full_disk(model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onegen_hf.index.shards import shard

    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shard, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        encode(model, tokenizer, make_corpus(20), tmp_path)
    monkeypatch.undo()
    encode(model, tokenizer, make_corpus(20), tmp_path)  # what was done stays, and nothing else
    assert not list((tmp_path / "1" / "shards").glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shard_size": 0}, ValueError, "shard_size=0 must be at least 1"),
        ({"precision": "int8"}, ValueError, "precision='int8' is unknown"),
        ({"lease_seconds": 0}, ValueError, "lease_seconds=0 must be"),
        ({"deduplicate": 1}, TypeError, "deduplicate=1 must be True or False"),
        ({"max_tokens_per_passage": 999}, ValueError, "max_tokens_per_passage=999: the model embeds"),
    ],
)
def test_arguments(
    model: Any, tokenizer: Any, tmp_path: Path, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        encode(model, tokenizer, make_corpus(3), tmp_path / "shards", **arguments)
    assert not (tmp_path / "shards").exists()


def test_no_gradients_and_modes(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    model.train()
    encode(model, tokenizer, make_corpus(5), tmp_path)
    assert model.training and torch.is_grad_enabled()
