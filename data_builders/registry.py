"""The converters by name; a module is imported when its converter is asked for."""

from __future__ import annotations

import importlib

from data_builders.converter import Converter

CONVERTERS = {
    "multi-hop": ("data_builders.multi_hop.converter:MultiHopConverter", "HotpotQA, 2WikiMultihopQA, MuSiQue"),
    "self-rag": ("data_builders.single_hop.self_rag:SelfRagConverter", "Self-RAG's training file"),
    "squad": ("data_builders.single_hop.squad:SquadConverter", "SQuAD and files like it"),
    "self-rag-eval": (
        "data_builders.single_hop.self_rag_eval:SelfRagEvalConverter",
        "PopQA, TriviaQA, PubHealth, ARC-Challenge in Self-RAG's layout",
    ),
    "entity-linking": (
        "data_builders.entity_linking.converter:EntityLinkingConverter",
        "ELEVANT's benchmarks, AIDA-CoNLL",
    ),
    "linked-titles": (
        "data_builders.linked_titles.converter:LinkedTitlesConverter",
        "examples of entity linking from passages that name each other's titles",
    ),
    "entity-names": (
        "data_builders.entity_names.converter:EntityNamesConverter",
        "first examples of entity linking, made up around the names of a catalogue",
    ),
    "paper": ("data_builders.paper.converter:PaperConverter", "the files that the paper's authors published"),
    "passage-pairs": (
        "data_builders.passage_pairs.converter:PassagePairsConverter",
        "pairs for a retrieval stage out of passages alone, without labels",
    ),
    "own": ("data_builders.own.converter:OwnConverter", "your own texts, with questions and answers"),
}
"""Name → `module:class`, and what the list of builders says of it."""


def converter_class(name: str) -> type[Converter]:
    """
    Find a converter.

    Args:
        name (`str`):
            A key of [`CONVERTERS`].

    Returns:
        `type[Converter]`: Its class; the fields are its options.

    Raises:
        `ValueError`: If there is none of this name.
    """
    if name not in CONVERTERS:
        raise ValueError(f"there is no builder {name!r}; choose one of {', '.join(CONVERTERS)}.")
    module, _, attribute = CONVERTERS[name][0].partition(":")
    found: type[Converter] = getattr(importlib.import_module(module), attribute)
    return found
