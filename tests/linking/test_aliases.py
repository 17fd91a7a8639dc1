"""Alias tables: counted, looked up, kept on disk, and what their priors do to candidates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onegen_hf.data.passages import Passage
from onegen_hf.linking.aliases import AliasTable, normalize_surface
from onegen_hf.linking.entities import EntityPriors, link_mentions
from onegen_hf.linking.prior_weight import fit_prior_weight


def table_of(*counts: tuple[str, str, int]) -> AliasTable:
    table = AliasTable()
    for surface, entity, count in counts:
        table.add(surface, entity, count)
    return table


def test_priors_are_shares_of_a_surface() -> None:
    table = table_of(("Fern Bay", "Q2", 1), ("fern \u00a0BAY ", "Q9", 3), ("Elm", "Q4", 2))
    assert table.priors("\uff26ern Bay") == {"Q9": 0.75, "Q2": 0.25}  # a full-width F
    assert list(table.priors("fern bay")) == ["Q9", "Q2"]
    assert table.priors("elm") == {"Q4": 1.0}
    assert table.priors("Fern") == {}
    assert len(table) == 2 and table.entity_ids == {"Q2", "Q4", "Q9"}


def test_of_training_examples() -> None:
    def example(content: str, positives: list[list[str]]) -> dict[str, Any]:
        user = {"role": "user", "content": "Mark <MENTION>this</MENTION>."}
        turns = [user, {"role": "assistant", "content": content}]
        return {"id": "one", "messages": turns, "positives": positives}

    marked = "<MENTION>Ada</MENTION>[LK][CON] met <MENTION>Ada\nMoll</MENTION>[LK][CON] and <MENTION>him</MENTION>[LK]"
    table = AliasTable()
    table.add_examples([example(marked, [["Q1"], ["Q1#0", "Q7"], []])])
    assert sorted(table) == [("ada", "Q1", 1), ("ada moll", "Q1", 1), ("ada moll", "Q7", 1)]
    with pytest.raises(ValueError, match="example 'one' has 3 mentions in <MENTION> tags, but 1 lists of positives"):
        table.add_examples([example(marked, [["Q1"]])])


def test_of_documents_and_of_a_catalogue() -> None:
    table = AliasTable()
    table.add_documents([{"id": "Q1", "title": "Ada Moll", "sentences": ["She."]}])
    table.add_documents([{"entity_id": "Q7", "name": "Ada Moll", "aliases": ["ada moll", "Moll", " "]}])
    assert sorted(table) == [("ada moll", "Q1", 1), ("ada moll", "Q7", 1), ("moll", "Q7", 1)]


SURFACES = st.text(max_size=8)
COUNTS = st.lists(st.tuples(SURFACES, st.sampled_from(["Q1", "Q2", "Q3"]), st.integers(1, 5)), max_size=12)


@given(COUNTS)
def test_priors_add_up_to_one(counts: list[tuple[str, str, int]]) -> None:
    table = table_of(*counts)
    for surface, entity, _ in counts:
        priors = table.priors(surface)
        assert bool(priors) == (normalize_surface(surface) != "")
        if priors:
            assert sum(priors.values()) == pytest.approx(1) and entity in priors
            assert list(priors.values()) == sorted(priors.values(), reverse=True)


@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize("counts", [[], [("Fern Bay", "Q2", 2), ("\u6771\u4eac", "Q3", 1), ("fern bay", "Q1", 7)]])
def test_kept_on_disk(tmp_path: Path, suffix: str, counts: Any) -> None:
    path = tmp_path / f"aliases.{suffix}"
    table_of(*counts).save(path)
    assert list(AliasTable.load(path)) == list(table_of(*counts))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends in one of"):
        AliasTable().save(tmp_path / "aliases.csv")
    with pytest.raises(FileNotFoundError, match="no such alias table"):
        AliasTable.load(tmp_path / "none.json")
    path = tmp_path / "aliases.json"
    for content in ("{", "[1]", '{"ada": 3}', '{"ada": {"Q1": 0}}', '{"ada": {"Q1": "2"}}', '{"ada": {"": 2}}'):
        path.write_text(content)
        with pytest.raises(ValueError, match="is no alias table"):
            AliasTable.load(path)
    pq.write_table(pa.table({"surface": ["ada"], "entity": ["Q1"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="is no alias table"):
        AliasTable.load(tmp_path / "other.parquet")
    assert json.loads(path.read_text()) == {"ada": {"": 2}}


class Catalogue:
    """Entities Q0, Q1, ... whose cosines to the query are given."""

    def __init__(self, *similarities: float) -> None:
        self.similarities = np.asarray(similarities, np.float32)
        self.num_rows = len(similarities)

    def search(self, embeddings: Any, k: int) -> tuple[Any, Any]:
        rows = np.argsort(-self.similarities, kind="stable")[:k]
        return np.tile(self.similarities[rows], (len(embeddings), 1)), np.tile(rows, (len(embeddings), 1))

    def __getitem__(self, row: int) -> Passage:
        return Passage(f"Q{row}", f"Entity {row}", "Text.")


def linked(catalogue: Any, table: AliasTable | None, **options: Any) -> dict[str, Any]:
    priors = None if table is None else EntityPriors(table, catalogue)
    (mention,) = link_mentions(catalogue, "Moll sang.", [(0, 4)], torch.ones(1, 2), priors=priors, **options)
    return mention


def test_a_prior_adds_candidates_and_their_weight() -> None:
    catalogue = Catalogue(0.9, 0.8, 0.7, 0.6)
    table = table_of(("moll", "Q3", 3), ("moll", "Q1", 1), ("moll", "Q99", 4), ("ada", "Q2", 1))
    assert [c["entity_id"] for c in linked(catalogue, None, top_k=2)["candidates"]] == ["Q0", "Q1"]
    off = linked(catalogue, table, top_k=2)
    assert off["entity_id"] == "Q0" and off["score"] == pytest.approx(0.9)
    assert [(c["entity_id"], c["prior"]) for c in off["candidates"]] == [("Q0", 0.0), ("Q1", 0.125), ("Q3", 0.375)]
    on = linked(catalogue, table, top_k=2, prior_weight=1.0)
    assert [c["entity_id"] for c in on["candidates"]] == ["Q3", "Q1", "Q0"]
    assert on["score"] == pytest.approx(0.975)
    assert [c["similarity"] for c in on["candidates"]] == pytest.approx([0.6, 0.8, 0.9])
    nil = linked(catalogue, table, prior_weight=1.0, threshold=0.98)
    assert (nil["entity_id"], nil["name"]) == ("NIL", "") and nil["candidates"][0]["entity_id"] == "Q3"
    with pytest.raises(ValueError, match="prior_weight=0.5 needs an alias table"):
        linked(catalogue, None, prior_weight=0.5)


CANDIDATE = st.tuples(st.integers(0, 20), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
MENTIONS = st.lists(st.tuples(st.lists(CANDIDATE, min_size=1, max_size=4), st.integers(0, 4)), min_size=1, max_size=8)


def num_right(mentions: list[list[dict[str, Any]]], gold: list[str], weight: float) -> int:
    right = 0
    for candidates, entity in zip(mentions, gold, strict=True):
        scores = {c["entity_id"]: c["similarity"] + weight * c["prior"] for c in candidates}
        others = [score for other, score in scores.items() if other != entity]
        right += entity in scores and all(scores[entity] > other for other in others)
    return right


@given(MENTIONS)
def test_no_weight_does_better_than_the_fitted_one(drawn: Any) -> None:
    mentions = [
        [{"entity_id": f"Q{n}", "similarity": s / 20, "prior": p} for n, (s, p) in enumerate(own)] for own, _ in drawn
    ]
    gold = [f"Q{number}" for _, number in drawn]
    fitted = fit_prior_weight(mentions, gold)
    assert fitted >= 0
    tried = [0.0, *np.linspace(0.003, 6, 400)]
    assert num_right(mentions, gold, fitted) >= max(num_right(mentions, gold, weight) for weight in tried)
    if num_right(mentions, gold, 0.0) == num_right(mentions, gold, fitted):
        assert fitted == 0


def test_weights_by_hand() -> None:
    near, named = {"entity_id": "Q1", "similarity": 0.6}, {"entity_id": "Q2", "similarity": 0.5}
    pair = [{**near, "prior": 0.0}, {**named, "prior": 0.5}]
    assert fit_prior_weight([pair], ["Q1"]) == 0.0
    assert fit_prior_weight([pair], ["Q2"]) > 0.2
    # From 0.3 on one is right, up to 0.3 the other: no weight serves both, whatever the rounding.
    scores = [[(0.3, 0.0), (0.0, 1.0)], [(0.1, 0.5), (0.25, 0.0)]]
    touching = [
        [{"entity_id": f"Q{n}", "similarity": s, "prior": p} for n, (s, p) in enumerate(own)] for own in scores
    ]
    assert num_right(touching, ["Q0", "Q0"], fit_prior_weight(touching, ["Q0", "Q0"])) == 1
    tie = [{**near, "prior": 0.25}, {**named, "similarity": 0.6, "prior": 0.0}]
    assert fit_prior_weight([tie], ["Q1"]) > 0
    other = [{**near, "prior": 0.0}, {**named, "similarity": 0.3, "prior": 0.5}]
    assert 0.2 < fit_prior_weight([pair, other], ["Q2", "Q1"]) < 0.6
    for mentions, gold, message in (
        ([pair], [], "give one right entity for each"),
        ([], [], "gold is empty"),
        ([[near]], ["Q1"], "candidates have no `prior`"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_prior_weight(mentions, gold)  # type: ignore[arg-type]
