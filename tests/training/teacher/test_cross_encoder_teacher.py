"""The teacher that reads pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from support.sample_corpus import DOCUMENTS
from support.tiny_teachers import save_cross_encoder

from onegen_hf.data.documents import Corpus
from onegen_hf.training.teacher import CrossEncoderTeacher

OPTIONS: dict[str, Any] = {"device": "cpu", "show_progress": False}
CORPUS = Corpus(DOCUMENTS)
PAIRS = [("Who made Tin Boat?", CORPUS[0]), ("Who made Tin Boat?", CORPUS[2]), ("Who sang?", CORPUS[7]),
         (None, CORPUS[1]), ("Who sang?", CORPUS[7])]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cross_encoder(tmp_path_factory.mktemp("teacher"))


def test_scores_are_logits_of_the_pairs_alone(encoder: Path) -> None:
    teacher = CrossEncoderTeacher.build(encoder, PAIRS, **OPTIONS)
    scores = teacher.scores(["Who sang?", "Who made Tin Boat?", None], [CORPUS[n] for n in (0, 2, 7, 1)])
    assert scores.shape == (3, 4) and scores.dtype == torch.float32
    model = CrossEncoder(str(encoder), device="cpu")
    texts = [f"{CORPUS[n].title} {CORPUS[n].text}" for n in (0, 2, 7)]
    pairs = [("Who made Tin Boat?", texts[0]), ("Who made Tin Boat?", texts[1]), ("Who sang?", texts[2])]
    expected = torch.from_numpy(model.predict(pairs, activation_fn=torch.nn.Identity()))
    torch.testing.assert_close(scores[[1, 1, 0], [0, 1, 2]], expected, atol=1e-5, rtol=0)
    assert (~scores.isnan()).sum() == 3


def test_a_second_run_scores_nothing(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[Any] = []
    predict = CrossEncoder.predict
    monkeypatch.setattr(
        CrossEncoder, "predict", lambda self, pairs, **kwargs: scored.extend(pairs) or predict(self, pairs, **kwargs)
    )
    first = CrossEncoderTeacher.build(encoder, PAIRS, folder=tmp_path, **OPTIONS)
    assert len(scored) == 3
    second = CrossEncoderTeacher.build(encoder, [*PAIRS, ("Who?", CORPUS[3])], folder=tmp_path, **OPTIONS)
    assert scored[3:] == [("Who?", "Ben Oak Ben Oak was born in Elm Hill. He paints. He sings.")]
    query, passages = ["Who made Tin Boat?"], [CORPUS[0], CORPUS[2]]
    assert torch.equal(first.scores(query, passages), second.scores(query, passages))


def test_errors(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pairs is empty"):
        CrossEncoderTeacher.build(encoder, [(None, CORPUS[0])], **OPTIONS)
    with pytest.raises(ValueError, match="cannot be loaded as a CrossEncoder"):
        CrossEncoderTeacher.build(tmp_path / "none", PAIRS, **OPTIONS)
    with pytest.raises(TypeError, match="the teacher is a int"):
        CrossEncoderTeacher.build(3, PAIRS, **OPTIONS)
    with pytest.raises(ValueError, match="has 3 outputs, so no single score"):
        CrossEncoderTeacher.build(save_cross_encoder(tmp_path, num_labels=3), PAIRS, **OPTIONS)
