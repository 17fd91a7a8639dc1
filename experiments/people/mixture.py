"""Which examples of which data sets each stage sees."""

from __future__ import annotations

from typing import NamedTuple


class Share(NamedTuple):
    """
    The part of a data set in a stage.

    Args:
        times (`int`): How often an epoch has each example.
        limit (`int`, *optional*): Draw this many examples at most.
    """

    times: int = 1
    limit: int | None = None


RETRIEVAL = {
    "pairs": Share(),
    "xquad_en": Share(times=3),
    "squad_part": Share(times=2),
    "nq_wiki": Share(times=2),
    "cmu_wikipedia": Share(),
    "boolq": Share(),
    "drop": Share(),
    "covidqa": Share(),
    "bioasq": Share(),
    "quoref_contrast": Share(),
    "onestopqa": Share(),
    "trivia_nq_retrieved": Share(),
    "qamr": Share(limit=2000),
    "fairytaleqa": Share(limit=2000),
    "hotpotqa": Share(),
    "musique": Share(),
    "wiki2hop": Share(limit=1200),
    "facts": Share(limit=200),
}
"""Pairs of a question and its passage; of questions with several hops, the first one."""

JOINT = {
    "xquad_en": Share(times=3),
    "squad_part": Share(times=2),
    "nq_wiki": Share(times=2),
    "cmu_wikipedia": Share(),
    "boolq": Share(limit=1200),
    "drop": Share(),
    "covidqa": Share(limit=300),
    "bioasq": Share(limit=500),
    "quoref_contrast": Share(),
    "trivia_nq_retrieved": Share(),
    "qamr": Share(limit=6000),
    "fairytaleqa": Share(limit=2000),
    "hotpotqa": Share(times=2),
    "musique": Share(times=2),
    "wiki2hop": Share(limit=5000),
    "facts": Share(limit=2400),
}
"""Questions with answers; wiki2hop and the fact corpus keep what the bundled checkpoint has learned."""

FAMILIES = ("xquad_en", "squad_part", "nq_wiki", "hotpotqa", "wiki2hop")
"""Development splits on which recall is measured, each over all passages of its set."""
