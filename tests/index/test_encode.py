"""Encoding a corpus: the same embeddings as one passage at a time, refusals, and resuming after a kill."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from support.index_fixtures import CountedEmbed, make_corpus, make_model, make_tokenizer

from onegen_hf import Passage
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.index.encode import encode_passages
from onegen_hf.index.encode_checkpoint import remove_checkpoint


def encode(model: Any, tokenizer: Any, passages: Any, **options: Any) -> Any:
    return encode_passages(model, tokenizer, passages, show_progress=False, **options)


def plain_embeddings(model: Any, tokenizer: Any, corpus: list[Passage]) -> np.ndarray:
    """The definition: the full forward of each passage alone, its last hidden state, divided by its length."""
    encoder = PassageEncoder(tokenizer, model.onegen_config)
    found = []
    for passage in corpus:
        row = encoder.row(passage)
        with torch.no_grad():
            output = model(input_ids=torch.tensor([row.input_ids]), output_hidden_states=True)
        found += [output.hidden_states[-1][0, position].float() for position in row.positions]
    return torch.stack([vector / vector.norm() for vector in found]).numpy()


@pytest.mark.parametrize("granularity", ["passage", "sentence"])
@pytest.mark.parametrize("number", [1, 2, 13])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"max_batch_tokens": 1}], ids=["one", "three", "budget"])
def test_batches_equal_the_plain_forward(tokenizer: Any, granularity: str, number: int, options: Any) -> None:
    model, corpus = make_model(tokenizer, granularity=granularity), make_corpus(number)
    encoded = encode(model, tokenizer, corpus, **options)
    expected = plain_embeddings(model, tokenizer, corpus)
    assert encoded.embeddings.dtype == np.float32
    np.testing.assert_allclose(encoded.embeddings, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(encoded.embeddings, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encode(model, tokenizer, [passage]).embeddings for passage in corpus])
    np.testing.assert_allclose(encoded.embeddings, alone, atol=1e-5)


def test_owners_and_sentences(tokenizer: Any) -> None:
    corpus = make_corpus(4)  # one, two, three and four sentences
    encoded = encode(make_model(tokenizer, granularity="sentence"), tokenizer, corpus)
    assert encoded.owners.tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert encoded.sentences.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert encoded.owners.dtype == encoded.sentences.dtype == np.int64
    encoded = encode(make_model(tokenizer), tokenizer, corpus)
    assert encoded.owners.tolist() == [0, 1, 2, 3]
    assert encoded.sentences.tolist() == [0, 0, 0, 0]


def test_longest_first_within_both_limits(model: Any, tokenizer: Any) -> None:
    corpus = [Passage(str(i), "", "kite " * (i + 1)) for i in range(10)]
    seen: list[tuple[int, int]] = []
    embed = model.embed
    model.embed = lambda ids, *rest: (seen.append(tuple(ids.shape)), embed(ids, *rest))[1]
    encode(model, tokenizer, corpus, batch_size=4, max_batch_tokens=40)
    lengths = [length for _, length in seen]
    assert lengths == sorted(lengths, reverse=True)
    assert all(rows <= 4 and (rows * length <= 40 or rows == 1) for rows, length in seen)
    assert sum(rows for rows, _ in seen) == 10
    assert max(rows for rows, _ in seen) > 1


def test_sources_of_passages(model: Any, tokenizer: Any) -> None:
    records = [{"id": p.id, "title": p.title, "sentences": list(p.sentences)} for p in make_corpus(3)]
    dataset = datasets.Dataset.from_list(records)
    expected = encode(model, tokenizer, make_corpus(3)).embeddings
    for source in (records, iter(records), dataset, dataset.to_iterable_dataset()):
        np.testing.assert_array_equal(encode(model, tokenizer, source).embeddings, expected)


def test_bfloat16(model: Any, tokenizer: Any) -> None:
    exact = encode(model, tokenizer, make_corpus(5)).embeddings
    rounded = encode(model.to(torch.bfloat16), tokenizer, make_corpus(5)).embeddings
    assert rounded.dtype == np.float32
    assert (exact * rounded).sum(axis=1).min() > 0.99


def test_modes_are_restored(model: Any, tokenizer: Any) -> None:
    model.train()
    model.model.layers[0].eval()
    encode(model, tokenizer, make_corpus(2))
    assert model.training
    assert not model.model.layers[0].mlp.training
    assert model.model.layers[1].mlp.training


def test_truncation_is_counted(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(tokenizer, max_embedded_tokens=12)
    corpus = [Passage("short", "", "A kite."), Passage("long", "", "A kite is red. " * 9)]
    with caplog.at_level(logging.WARNING):
        assert encode(model, tokenizer, corpus).truncated == 1
    assert "1 of 2 passages were cut to 12 tokens" in caplog.text


def test_progress_bar(model: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    encode_passages(model, tokenizer, make_corpus(2))
    assert "Encoding" in capsys.readouterr().err
    encode(model, tokenizer, make_corpus(2))
    assert capsys.readouterr().err == ""


# Refusals. None of them may come after the first batch.


@pytest.mark.parametrize(
    ("corpus", "error", "message"),
    [
        ([], ValueError, "corpus is empty"),
        ([Passage("a", "", "A kite."), Passage("b", " ", "\n")], ValueError, r"passage 1 \(id 'b'\) has no text"),
        (["A kite.", ""], ValueError, r"passage 1 \(id '1'\) has no text"),
        ([{"id": "a", "title": ""}], ValueError, r"passage 0 \(id 'a'\) has no text"),
        ([Passage("a", "", "A kite.")] * 2, ValueError, "the id 'a' stands for more than one passage"),
        ("A kite.", TypeError, "single text"),
        ({"train": ["A kite."]}, TypeError, r"dataset\['train'\]"),
    ],
    ids=["empty", "blank", "empty string", "no text", "same id", "one text", "splits"],
)
def test_faulty_corpus(model: Any, tokenizer: Any, corpus: Any, error: type[Exception], message: str) -> None:
    counted = CountedEmbed(model)
    with pytest.raises(error, match=message):
        encode(model, tokenizer, corpus)
    assert counted.rows == []


def test_passage_beyond_the_context(tokenizer: Any) -> None:
    model = make_model(tokenizer, max_embedded_tokens=400)
    counted = CountedEmbed(model)
    with pytest.raises(
        ValueError, match=r"\(id 'long'\) takes \d+ tokens, more than the model's context of 128.*lower"
    ):
        encode(model, tokenizer, [Passage("short", "", "A kite."), Passage("long", "", "Item 5. " * 60)])
    assert counted.rows == []


def test_longest_passage_that_fits(tokenizer: Any) -> None:
    model = make_model(tokenizer, max_embedded_tokens=127)  # and the document token
    assert encode(model, tokenizer, [Passage("long", "", "Item 5. " * 60)]).embeddings.shape == (1, 32)


def test_nan_names_the_passage(model: Any, tokenizer: Any) -> None:
    bad = tokenizer("Q", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        model.get_input_embeddings().weight[bad] = torch.nan
    with pytest.raises(ValueError, match=r"passage 1 \(id 'b'\).*NaN"):
        encode(model, tokenizer, [Passage("a", "", "A kite, a kite, a kite."), Passage("b", "", "Q")])


def test_other_models_and_tokenizers(model: Any, tokenizer: Any) -> None:
    with pytest.raises(TypeError, match="Linear, not a OneGenForCausalLM"):
        encode(torch.nn.Linear(2, 2), tokenizer, make_corpus(1))
    with pytest.raises(ValueError, match="lacks the retrieval tokens"):
        encode(model, make_tokenizer(), make_corpus(1))
    larger = make_tokenizer()
    model.onegen_config.tokens.add_to(larger)
    larger.add_tokens(["<more>"])
    with pytest.raises(ValueError, match="embedding rows"):
        encode(model, larger, make_corpus(1))


@pytest.mark.parametrize("option", ["batch_size", "max_batch_tokens"])
def test_options_below_one(model: Any, tokenizer: Any, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=0 must be at least 1"):
        encode(model, tokenizer, make_corpus(1), **{option: 0})


# Resuming. The first call of embed is the probe of the checkpoint.


@pytest.mark.parametrize("seconds", [0.0, 3600.0], ids=["after each batch", "at the interruption"])
@pytest.mark.parametrize("second_batch_size", [2, 3])
def test_second_call_goes_on(tokenizer: Any, tmp_path: Path, seconds: float, second_batch_size: int) -> None:
    corpus, folder = make_corpus(10), tmp_path / "checkpoint"
    options = {"checkpoint_dir": folder, "checkpoint_seconds": seconds}
    model = make_model(tokenizer, granularity="sentence")
    expected = encode(model, tokenizer, corpus, batch_size=2).embeddings
    with pytest.raises(KeyboardInterrupt):
        CountedEmbed(model, fail_at=4)
        encode(model, tokenizer, corpus, batch_size=2, **options)
    again = make_model(tokenizer, granularity="sentence")  # as in another process
    counted = CountedEmbed(again)
    resumed = encode(again, tokenizer, corpus, batch_size=second_batch_size, **options).embeddings
    assert counted.rows == ([4, 2, 2] if second_batch_size == 2 else [4, 3, 1])
    np.testing.assert_allclose(resumed, expected, atol=1e-6)
    counted.rows.clear()
    np.testing.assert_array_equal(encode(again, tokenizer, corpus, **options).embeddings, resumed)
    assert counted.rows == [4]  # everything is there: only the probe
    remove_checkpoint(folder)
    assert not folder.exists()


def interrupted(model: Any, tokenizer: Any, folder: Path) -> None:
    embed = model.embed
    CountedEmbed(model, fail_at=3)
    with pytest.raises(KeyboardInterrupt):
        encode(model, tokenizer, make_corpus(8), batch_size=2, checkpoint_dir=folder, checkpoint_seconds=0)
    model.embed = embed


def test_checkpoint_of_something_else(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    interrupted(model, tokenizer, tmp_path)
    other_corpus = [*make_corpus(7), Passage("p7", "Title 7", "Another text.")]
    with pytest.raises(
        ValueError, match="another corpus, model or setting: corpus_and_settings.*delete the directory"
    ):
        encode(model, tokenizer, other_corpus, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="model with other weights"):
        encode(make_model(tokenizer, seed=1), tokenizer, make_corpus(8), checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="dtype was 'torch.float32' and is now 'torch.bfloat16'"):
        encode(make_model(tokenizer).bfloat16(), tokenizer, make_corpus(8), checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="corpus_and_settings"):
        settings = make_model(tokenizer, passage_template="{text}")
        encode(settings, tokenizer, make_corpus(8), checkpoint_dir=tmp_path)
    encode(model, tokenizer, make_corpus(8), checkpoint_dir=tmp_path)


def test_damaged_shard_is_encoded_again(
    model: Any, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(model, tokenizer, tmp_path)
    first, second = sorted(tmp_path.glob("embeddings-*"))
    first.write_bytes(first.read_bytes()[:20])
    counted = CountedEmbed(model)
    resumed = encode(model, tokenizer, make_corpus(8), batch_size=2, checkpoint_dir=tmp_path).embeddings
    assert "is damaged" in caplog.text
    assert counted.rows == [4, 2, 2, 2, 2]
    np.testing.assert_allclose(resumed, encode(model, tokenizer, make_corpus(8)).embeddings, atol=1e-6)


def test_damaged_manifest(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    interrupted(model, tokenizer, tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="unreadable manifest.json"):
        encode(model, tokenizer, make_corpus(8), checkpoint_dir=tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ValueError, match="shards without a manifest.json"):
        encode(model, tokenizer, make_corpus(8), checkpoint_dir=tmp_path)


def test_remove_checkpoint_keeps_other_files(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    interrupted(model, tokenizer, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    remove_checkpoint(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    remove_checkpoint(tmp_path / "missing")
