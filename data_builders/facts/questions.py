"""Draw balanced sets of questions over the facts, as records in the layout of wiki2hop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from data_builders.facts.comparisons import COMPARISONS, Compared, compare_all
from data_builders.facts.fact_base import FactBase
from data_builders.facts.neighbours import Neighbours
from data_builders.facts.relations import Chain, answer_aliases, chains, usable
from data_builders.seeding import shuffled

# The part of each type among all questions.
SHARES = {"single_hop": 0.25, "compositional": 0.35, "comparison": 0.25, "bridge_comparison": 0.15}
_MOST_WORDINGS = 3


def draw_questions(
    facts: FactBase,
    neighbours: Neighbours,
    *,
    split: str,
    size: int,
    starts: Callable[[str], bool],
    passes: Callable[[str], bool],
    seed: int,
) -> list[dict[str, Any]]:
    """
    Draw the questions of one split.

    Args:
        facts (`FactBase`):
            The tables.
        neighbours (`Neighbours`):
            Finds distractors.
        split (`str`):
            Its name, part of the ids.
        size (`int`):
            The number of questions wanted; there are fewer if the facts don't give that many.
        starts (`Callable`):
            Tells whether a question may start at a title.
        passes (`Callable`):
            Tells whether a passage may be used further on and as a distractor.
        seed (`int`):
            Chooses the questions.

    Returns:
        `list[dict[str, Any]]`: The records.
    """
    counts = share_out(size)
    pools: dict[str, dict[str, list[Chain | Compared]]] = {name: {} for name in SHARES}
    for chain in chains(facts):
        if starts(chain.start) and usable(chain.steps, facts, passes):
            kind = "single_hop" if len(chain.steps) == 1 else "compositional"
            start = facts[chain.start].kind
            pools[kind].setdefault(f"{start}:{chain.template}", []).append(chain)
    for comparison in COMPARISONS:
        kind = "bridge_comparison" if len(comparison.path) > 1 else "comparison"
        pool = compare_all(
            comparison,
            facts,
            starts,
            passes,
            # Templates that run dry leave their turns to the others, so each gets more than its even share.
            limit=2 * math.ceil(counts[kind] / 3),
            seed=seed,
        )
        pools[kind][comparison.template] = list(pool)
    drawn: list[tuple[str, Chain | Compared, str]] = []
    for kind, wanted in counts.items():
        drawn += [(kind, item, word) for item, word in _draw(pools[kind], wanted, seed)]
    records = []
    for number, (kind, item, word) in enumerate(shuffled(drawn, seed, "order", split)):
        records.append(_record(f"facts-{split}-{number:05d}", kind, item, word, facts, neighbours, passes))
    return records


def share_out(size: int) -> dict[str, int]:
    """So many questions of each type that they add up to `size`: what rounding leaves goes to the largest rests."""
    counts = {kind: math.floor(size * share) for kind, share in SHARES.items()}
    by_rest = sorted(SHARES, key=lambda kind: counts[kind] - size * SHARES[kind])
    for kind in by_rest[: size - sum(counts.values())]:
        counts[kind] += 1
    return counts


def _draw(pools: dict[str, list[Chain | Compared]], wanted: int, seed: int) -> list[tuple[Chain | Compared, str]]:
    """Take turns among the templates, and use every chain once before any gets a second wording."""
    queues = []
    for template, items in sorted(pools.items()):
        order = items if template.startswith(("cmp", "bcmp")) else shuffled(items, seed, template)
        words = [shuffled(item.wordings, seed, item.wordings[0])[:_MOST_WORDINGS] for item in order]
        queues.append(
            [
                (item, options[rank])
                for rank in range(_MOST_WORDINGS)
                for item, options in zip(order, words, strict=True)
                if rank < len(options)
            ]
        )
    drawn: list[tuple[Chain | Compared, str]] = []
    turn = 0
    while len(drawn) < wanted and any(turn < len(queue) for queue in queues):
        drawn += [queue[turn] for queue in queues if turn < len(queue)]
        turn += 1
    return drawn[:wanted]


def _record(
    record_id: str,
    kind: str,
    item: Chain | Compared,
    question: str,
    facts: FactBase,
    neighbours: Neighbours,
    passes: Callable[[str], bool],
) -> dict[str, Any]:
    last = item.steps[-1]
    if isinstance(item, Compared):
        answer, aliases = item.answer, [item.answer]
    else:
        answer, aliases = last.answer, answer_aliases(last.relation, last.answer, facts)
    gold: Sequence[str] = list(dict.fromkeys(step.title for step in item.steps))
    return {
        "id": record_id,
        "type": kind,
        "template": item.template,
        "question": question,
        "answer": answer,
        "answer_aliases": aliases,
        "supporting_facts": [[title, 0] for title in gold],
        "decomposition": [
            {"sub_question": step.sub_question, "answer": step.answer, "title": step.title} for step in item.steps
        ],
        "evidences": [[step.title, step.relation, step.answer] for step in item.steps],
        "context_titles": neighbours.context(record_id, item.steps, passes),
    }
