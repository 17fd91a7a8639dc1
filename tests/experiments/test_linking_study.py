"""The baselines of the linking study, on mentions whose right entity is known by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from experiments.entity_linking import (
    baseline_results,
    format_table,
    made_up_rows,
    name_matching,
    sentence_around,
    sentence_encoder,
    summary,
)
from onegen_hf.evaluation.linking.documents import read_linking_documents

ENTITIES = [("Q1", "Fern Bay"), ("Q2", "Elmshollow"), ("Q3", "Port Verity"), ("Q4", "Lake Osmunda")]


def test_an_exact_name_comes_before_a_similar_one() -> None:
    link = name_matching([("Q1", ["Fern Bay", "the bay"]), ("Q2", ["Fern Bays"])])
    text = "Fern Bay and the bay"
    (first, second) = link(text, [(0, 8), (13, 20)])
    assert [entity for entity, _ in first] == ["Q1", "Q2"]
    assert first[0][1] == 1.0 > first[1][1] > 0.8
    assert second[0] == ("Q1", 1.0)


def test_the_sentence_around_a_mention() -> None:
    text = "He left. She stayed in Fern Bay! Why?\nNobody knows"
    sentences = ["He left.", "She stayed in Fern Bay!", "Why?", "Nobody knows"]
    assert [sentence_around(text, text.index(sentence) + 1) for sentence in sentences] == sentences


def test_an_encoder_compares_mentions_with_descriptions() -> None:
    class OneHot:
        """Embeds a text as the entity that its first words name."""

        def encode(self, texts: Sequence[str], normalize_embeddings: bool) -> np.ndarray:
            assert normalize_embeddings
            return np.array([[float(text.startswith(title)) for _, title in ENTITIES] for text in texts])

    link = sentence_encoder(OneHot(), [(entity, title, "a place") for entity, title in ENTITIES])  # type: ignore[arg-type]
    (candidates,) = link("A road to Port Verity.", [(10, 21)])
    assert candidates[0] == ("Q3", 1.0) and {score for _, score in candidates[1:]} == {0.0}


def test_scores_of_a_baseline_that_is_right_on_half_of_the_mentions() -> None:
    documents = {"made_up": read_linking_documents(made_up_rows(ENTITIES), ENTITIES)}
    names = name_matching([(entity, [title]) for entity, title in ENTITIES])
    perfect = summary(baseline_results(names, documents))
    assert perfect["made_up"]["micro_f1"] == [1.0, 1.0, 1.0]
    half = baseline_results(lambda text, spans: [[("Q1", 1.0)], [("Q2", 0.5)]][: len(spans)], documents)
    assert summary(half)["made_up"]["micro_f1"][0] == pytest.approx(0.5)
    table = format_table({"names": perfect})
    assert "| names | 1.000 [1.000, 1.000] |" in table
