"""Which mentions a linker declines, by hand."""

from __future__ import annotations

from typing import Any

from experiments.linking.declining import declining, found_kinds
from onegen_hf.evaluation.linking.documents import LinkingDocument, read_linking_documents

TEXT = "Fern Bay, Port Verity, Mr Nobody and Monday"
CATALOGUE = [("Q1", "Fern Bay"), ("Q2", "Port Verity"), ("Q3", "Elmshollow")]


def _documents() -> list[LinkingDocument]:
    labels = [(0, 8, "Q1"), (10, 21, "Q2"), (23, 32, "Q9")]
    rows = [{"text": TEXT, "labels": [{"span": [a, b], "entity_id": entity} for a, b, entity in labels]}]
    return read_linking_documents(rows, CATALOGUE)


def _mention(start: int, end: int, entity: str, score: float) -> dict[str, Any]:
    return {"start": start, "end": end, "candidates": [{"entity_id": entity, "name": "", "score": score}]}


MENTIONS = [
    [
        _mention(0, 8, "Q1", 0.9),
        _mention(10, 21, "Q3", 0.5),
        _mention(23, 32, "Q3", 0.7),
        _mention(37, 43, "Q3", 0.2),
    ]
]


def test_the_kinds_of_mentions() -> None:
    assert found_kinds(_documents(), MENTIONS) == {
        "right": [0.9], "wrong": [0.5], "lacks": [0.7], "unlabelled": [0.2]
    }  # fmt: skip


def test_declining_by_hand() -> None:
    results = declining({"one": _documents(), "other": _documents()}, {"one": MENTIONS, "other": MENTIONS}, 0.6)
    assert results["one"] == results["other"]
    assert results["one"]["found"] == dict.fromkeys(("right", "wrong", "lacks", "unlabelled"), 1)
    assert results["one"]["declined"] == {"right": 0, "wrong": 1, "lacks": 0, "unlabelled": 1}
    f1 = {kind: scores["micro_f1"] for kind, scores in results["one"]["thresholds"].items()}
    assert f1["own"] == f1["of the others"] == round(2 / 3, 4)  # of two gold mentions one, and nothing wrong
    assert f1["none"] < f1["checkpoint"] <= f1["own"]
