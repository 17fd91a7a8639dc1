"""An index tells which model made it, and of a directory of this machine no more than its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.index_fixtures import make_corpus, make_model, make_tokenizer
from support.tiny_models import tiny_backbone

from onegen_hf import OneGenForCausalLM
from onegen_hf.cli.main import main
from onegen_hf.hub.origin import Origin
from onegen_hf.index import PassageIndex


@pytest.mark.parametrize(
    ("origin", "given", "expected"),
    [
        (None, (None, None), (None, None)),
        (Origin("org/m", "abc"), (None, None), ("org/m", "abc")),
        (Origin("org/m", "abc"), ("org/m", None), ("org/m", "abc")),
        (Origin("org/m", "abc"), ("org/m", "v1"), ("org/m", "v1")),
        (Origin("org/m", "abc"), ("our-model", None), ("our-model", None)),
        (None, ("{here}/films", None), ("films", None)),
    ],
)
def test_what_is_not_given(origin: Any, given: Any, expected: Any, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model, (model_id, revision) = make_model(tokenizer), given
    model.origin = origin
    names = {"model_id": model_id and model_id.format(here=tmp_path), "revision": revision}
    built = PassageIndex.build(model, tokenizer, make_corpus(3), show_progress=False, **names)
    assert (built.model_id, built.revision) == expected
    vectors = built.backend.index.reconstruct_n(0, 3)
    built = PassageIndex.from_embeddings(vectors, make_corpus(3), model, tokenizer, **names)
    assert (built.model_id, built.revision) == expected


def test_a_trained_model_is_no_longer_that_of_its_repository() -> None:
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.origin = Origin("org/m", "abc")
    assert model.eval().origin == Origin("org/m", "abc")
    assert model.train().eval().origin is None
    model.origin = Origin("org/m", "abc")
    assert OneGenForCausalLM.from_backbone(model, tokenizer).origin is None
    assert OneGenForCausalLM.from_backbone(tiny_backbone(), tokenizer).origin is None


def test_the_command_tells_no_path(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    make_model(tokenizer).save_pretrained(tmp_path / "films-model")
    tokenizer.save_pretrained(tmp_path / "films-model")
    rows = [{"id": p.id, "title": p.title, "text": p.text} for p in make_corpus(3)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus, out = str(tmp_path / "corpus.jsonl"), tmp_path / "index"
    main(["index", "--passages", corpus, "--output-dir", str(out), "--model", str(tmp_path / "films-model")])
    assert json.loads((out / "index.json").read_text())["model_id"] == "films-model"
    assert str(tmp_path) not in (out / "index.json").read_text()
