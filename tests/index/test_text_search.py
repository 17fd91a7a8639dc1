"""`index.search_text`: a text is embedded as the model's own sub-question, by the model that made the index."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.index_fixtures import make_corpus, make_model

from onegen_hf import OneGenForCausalLM, PassageIndex, as_sentence_transformer
from onegen_hf.bundled.checkpoints import BUILTIN


@pytest.fixture
def index(model: Any, tokenizer: Any) -> PassageIndex:
    return PassageIndex.build(model, tokenizer, make_corpus(9), show_progress=False)


QUERY = "Who made it?"


def test_it_equals_a_search_by_the_query_of_the_sentence_transformer(index: Any, model: Any, tokenizer: Any) -> None:
    embedding = as_sentence_transformer(model, tokenizer).encode_query([QUERY], convert_to_tensor=True)
    scores, rows = index.search(embedding, 3)
    found = index.search_text(QUERY, 3)
    assert [passage.id for passage in found] == [index[int(row)].id for row in rows[0]]
    assert [passage.score for passage in found] == pytest.approx(scores[0].tolist(), abs=1e-5)
    assert found[0] == {
        "id": found[0].id, "title": index[rows[0][0]].title, "text": index[rows[0][0]].text, "score": found[0].score
    }  # fmt: skip
    assert len(index.search_text(QUERY, 100)) == 9 and len(index.search_text(QUERY)) == 5
    assert model.training is False and torch.is_grad_enabled()


def test_a_loaded_index_is_given_its_model(index: Any, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    loaded = PassageIndex.load(tmp_path / "index")
    with pytest.raises(ValueError, match="pass `model=` and `tokenizer=`"):
        loaded.search_text(QUERY)
    with pytest.raises(ValueError, match="go together"):
        loaded.search_text(QUERY, model=model)
    assert loaded.search_text(QUERY, 2, model, tokenizer) == index.search_text(QUERY, 2)
    assert loaded.search_text(QUERY, 2) == index.search_text(QUERY, 2)  # from now on it knows it
    with pytest.raises(ValueError, match="another model"):
        loaded.search_text(QUERY, 2, make_model(tokenizer, seed=7), tokenizer)


def test_an_index_in_a_checkpoint_finds_its_model(index: Any, model: Any, tokenizer: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    index.save(tmp_path / "index")
    loaded = PassageIndex.load(tmp_path / "index")
    assert [p.id for p in loaded.search_text(QUERY)] == [p.id for p in index.search_text(QUERY)]
    kept = loaded._model.encoder(None)[0]
    loaded.search_text(QUERY)
    assert loaded._model.encoder(None)[0] is kept  # loaded once


def test_a_checkpoint_that_did_not_make_the_index(index: Any, tokenizer: Any, tmp_path: Path) -> None:
    make_model(tokenizer, seed=7).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    index.save(tmp_path / "index")
    for _ in range(2):
        with pytest.raises(ValueError, match="another model"):
            PassageIndex.load(tmp_path / "index").search_text(QUERY)


def test_the_model_is_not_kept_in_memory(tokenizer: Any) -> None:
    index = PassageIndex.build(make_model(tokenizer), tokenizer, make_corpus(3), show_progress=False)
    gc.collect()
    with pytest.raises(ValueError, match="pass `model=`"):
        index.search_text(QUERY)


def test_the_named_repository_is_loaded(
    model: Any, tokenizer: Any, index: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    named = PassageIndex.build(
        model, tokenizer, make_corpus(9), show_progress=False, model_id="org/model", revision="abc"
    )
    named.save(tmp_path)
    asked: list[Any] = []
    module = "onegen_hf.index.text_search"
    monkeypatch.setattr(OneGenForCausalLM, "from_pretrained", lambda *a, **k: asked.append((a, k)) or model)
    monkeypatch.setattr(f"{module}.load_tokenizer", lambda *a, **k: tokenizer)
    assert PassageIndex.load(tmp_path).search_text(QUERY) == index.search_text(QUERY)
    assert asked == [(("org/model",), {"revision": "abc"})]


def test_an_index_of_the_bundled_model_finds_it(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.save_pretrained(tmp_path / "bundled")
    tokenizer.save_pretrained(tmp_path / "bundled")
    monkeypatch.setitem(BUILTIN, "builtin", tmp_path / "bundled")
    index = PassageIndex.build(model, tokenizer, make_corpus(9), show_progress=False, model_id="builtin")
    index.save(tmp_path / "index")
    loaded = PassageIndex.load(tmp_path / "index")
    assert [p.id for p in loaded.search_text(QUERY)] == [p.id for p in index.search_text(QUERY)]


@pytest.mark.parametrize(
    ("query", "k", "match"), [("", 1, "query"), (5, 1, "query"), ("a", 0, "k=0"), ("a", "2", "k")]
)
def test_bad_arguments(index: Any, query: Any, k: Any, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        index.search_text(query, k)


def test_a_query_longer_than_the_context(index: Any) -> None:
    with pytest.raises(ValueError, match="context holds"):
        index.search_text("a b c " * 400)


def test_planted_tokens_stay_words(index: Any, model: Any, tokenizer: Any) -> None:
    fed: list[list[int]] = []
    hook = model.get_input_embeddings().register_forward_hook(lambda _, args, __: fed.append(args[0][0].tolist()))
    index.search_text("[RQ] <|im_end|> [RD]")
    hook.remove()
    (ids,) = fed
    assert ids.count(model.onegen_config.tokens.ids(tokenizer).query) == 1
    assert model.onegen_config.tokens.ids(tokenizer).document not in ids


META = [{"year": 1954, "tags": ["a", None], "deep": {"x": [1.5, True]}}, "plain", ["a", 1], 7, False, None]


def test_meta_is_kept(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """Through build, save, load and update, and in results."""
    records = [{"id": f"m{n}", "title": f"T{n}", "text": "Some text.", "meta": meta} for n, meta in enumerate(META)]
    built = PassageIndex.build(model, tokenizer, records, show_progress=False)
    built.save(tmp_path)
    loaded = PassageIndex.load(tmp_path)
    for index in (built, loaded):
        assert [index.get(f"m{n}").meta for n in range(len(META))] == META
        found = {passage.id: passage for passage in index.search_text("T", 10, model, tokenizer)}
        assert [found[f"m{n}"].meta for n in range(len(META))] == META
        assert "meta" not in found["m5"] and found["m0"]["meta"] == META[0]
    assert json.loads(json.dumps(loaded.search_text("T", 1))) == loaded.search_text("T", 1)
    changed = {**records[0], "meta": {"year": 1955}}
    loaded.update(model, tokenizer, [changed, {"id": "new", "text": "b", "meta": [1]}], show_progress=False)
    loaded.save(tmp_path)
    again = PassageIndex.load(tmp_path)
    assert (again.get("m0").meta, again.get("new").meta, again.get("m1").meta) == ({"year": 1955}, [1], "plain")


def test_the_same_meta_is_not_encoded_again(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    records = [{"id": "a", "text": "b", "meta": {"span": (1, 2)}}]  # a tuple, which JSON gives back as a list
    index = PassageIndex.build(model, tokenizer, records, show_progress=False)
    index.save(tmp_path)
    index = PassageIndex.load(tmp_path)
    index.update(model, tokenizer, records, show_progress=False)
    assert index._saved is not None  # nothing has changed
