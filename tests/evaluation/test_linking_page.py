"""Cases of entity linking: each gold mention, and each link where there is none."""

from __future__ import annotations

from typing import Any

from onegen_hf.data.passages import Passage
from onegen_hf.evaluation.display.linking_cases import linking_cases
from onegen_hf.evaluation.linking.documents import LinkingDocument

TEXT = "Ada met Ben in Fern Bay, and Cleo saw them there."
ENTITIES = {"Q1": Passage("Q1", "Ada Moll", "A director."), "Q2": Passage("Q2", "Fern Bay", "A town.")}


def label(mention: str, entity_id: str, optional: bool = False) -> dict[str, Any]:
    start = TEXT.index(mention)
    return {"span": (start, start + len(mention)), "entity_id": entity_id, "optional": optional}


def linked(mention: str, entity_id: str, score: float = 0.5) -> dict[str, Any]:
    start, end = label(mention, "")["span"]
    return {"mention": mention, "start": start, "end": end, "entity_id": entity_id, "name": "", "score": score}


def cases(labels: list[Any], mentions: list[Any], span: tuple[int, int] = (0, len(TEXT))) -> list[Any]:
    document = LinkingDocument("d", TEXT, span, tuple(labels), {})
    return linking_cases("set", [document], [mentions], ENTITIES.get)


def test_right_wrong_missed_and_spurious_ones() -> None:
    labels = [label("Ada", "Q1"), label("Fern Bay", "Q2"), label("Ben", "NIL"), label("Cleo", "Q1")]
    mentions = [linked("Ada", "Q1"), linked("Fern Bay", "Q1", 0.25), linked("Ben", "Q1"), linked("them", "Q2")]
    ada, bay, cleo, them = cases(labels, mentions)
    assert (ada.kinds, bay.kinds, cleo.kinds, them.kinds) == ((), ("entity",), ("missed",), ("spurious",))
    hop = bay.hops[0]
    assert hop.query == "Fern Bay" and hop.gold[0]["title"] == "Fern Bay" and hop.gold[0]["score"] is None
    assert (hop.retrieved[0]["title"], hop.retrieved[0]["score"], hop.right) == ("Ada Moll", 0.25, False)
    assert bay.question == TEXT.replace("Fern Bay", "[Fern Bay]") and bay.group == "set"
    assert cleo.hops[0].retrieved == [] and them.hops[0].gold == [] and them.hops[0].right is None


def test_what_is_no_failure() -> None:
    assert cases([label("Ada", "Q1", optional=True)], []) == []
    assert cases([], [linked("Ada", "NIL")]) == []
    assert cases([], [linked("Cleo", "Q1")], span=(0, 20)) == []
    assert [case.kinds for case in cases([label("Ada", "Q1")], [linked("Ada", "NIL")])] == [("entity",)]
