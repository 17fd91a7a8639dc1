"""The picture of a training: well formed, inside of its frame, and in the card where it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.training_setup import trainer_for

from onegen_hf.cards import model_card
from onegen_hf.cards.curves import HEIGHT, WIDTH, training_curves
from onegen_hf.hub.layout import CURVES_FILE, MODEL_FILES

SVG = "{http://www.w3.org/2000/svg}"
LOG: list[dict[str, Any]] = [
    {"step": step, "loss_gen": 3.0 - step / 10, "loss_ret": 9.0 / step, "retrieval_accuracy": step / 10}
    for step in range(1, 11)
]


def test_two_panels() -> None:
    picture = training_curves([*LOG, {"step": 10, "eval_loss": 1.5}, {"train_loss": 2.0}])
    assert picture is not None
    tree = ElementTree.fromstring(picture)
    lines = {line.get("points") or "" for line in tree.iter(f"{SVG}polyline")}
    assert sorted(len(line.split()) for line in lines) == [1, 10, 10, 10]
    places = [tuple(map(float, point.split(","))) for line in lines for point in line.split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= 2 * HEIGHT for x, y in places)
    words = {text.text for text in tree.iter(f"{SVG}text")}
    assert {"losses", "retrieval accuracy", "loss_gen", "loss_ret", "9", "step 1"} <= words
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_a_falling_loss_falls() -> None:
    picture = training_curves([{"step": 1, "loss_gen": 4.0}, {"step": 2, "loss_gen": 1.0}])
    assert picture is not None
    (points,) = re.findall(r'points="([^"]+)"', picture)
    (_, first), (_, last) = (map(float, point.split(",")) for point in points.split())
    assert last > first  # lower on the page


@pytest.mark.parametrize("log", [[], LOG[:1], [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]])
def test_nothing_to_draw(log: list[dict[str, Any]]) -> None:
    assert training_curves(log) is None


def test_in_the_card(base_tokenizer: Any, tmp_path: Path) -> None:
    trainer, folder = trainer_for(base_tokenizer, tmp_path, max_steps=2), tmp_path
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    assert (folder / CURVES_FILE).is_file() and CURVES_FILE in MODEL_FILES
    assert f"![Losses and retrieval accuracy by step]({CURVES_FILE})" in (folder / "README.md").read_text()
    (folder / CURVES_FILE).unlink()
    assert CURVES_FILE not in str(model_card(folder))
