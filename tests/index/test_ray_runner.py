"""Ray Data hands shards to two actors on this machine: the bytes of a single process, and errors by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.index_fixtures import make_corpus, make_model, make_tokenizer
from support.shard_workers import contents

from onegen_hf import Passage
from onegen_hf.index import encode_shards

ray = pytest.importorskip("ray", reason="needs the extra [ray]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    make_model(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def on_ray(checkpoint: Path, corpus: list[Passage], folder: Path, **options: Any) -> Any:
    from onegen_hf.index.shards.ray_runner import encode_shards_on_ray

    settings = {"shard_size": 16, "device": "cpu", "show_progress": False, **options}
    return encode_shards_on_ray(str(checkpoint), corpus, folder, **settings)


def test_two_actors(cluster: None, checkpoint: Path, tmp_path: Path) -> None:
    tokenizer, corpus = make_tokenizer(), make_corpus(100)
    encode_shards(make_model(tokenizer), tokenizer, corpus, tmp_path / "one", shard_size=16, show_progress=False)
    on_ray(checkpoint, corpus, tmp_path / "ray", workers=2)
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
    # An update, of which nothing but the new passage is encoded.
    after = [*corpus, Passage("new", "", "A boat.")]
    manifest = on_ray(checkpoint, after, tmp_path / "ray", workers=2, update=True)
    assert sum(summary.reused for summary in manifest.summaries) == 100 and manifest.num_passages == 101


def test_errors_of_actors_and_driver(cluster: None, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the corpus is empty"):
        on_ray(checkpoint, [], tmp_path / "empty")
    with pytest.raises(ValueError, match="its title .* leaves no room for text"):
        corpus = [*make_corpus(20), Passage("x", "A long title. " * 20, "A kite. " * 20)]
        on_ray(checkpoint, corpus, tmp_path / "long", max_tokens_per_passage=20)
    other = make_tokenizer()
    encode_shards(make_model(other, seed=1), other, make_corpus(20), tmp_path / "model", 16, show_progress=False)
    with pytest.raises(ValueError, match="holds the shards of another model"):
        on_ray(checkpoint, make_corpus(21), tmp_path / "model", update=True)
    encode_shards(make_model(other), other, make_corpus(20), tmp_path / "other", 16, show_progress=False)
    with pytest.raises(ValueError, match="holds the shards of another corpus"):
        on_ray(checkpoint, make_corpus(21), tmp_path / "other")
