"""
How well a linker declines: which of the mentions that it found it leaves without an entity, at several NIL thresholds.

```
python -m experiments.linking.declining --catalogue catalog.jsonl --out outputs/declining.json \
  --sets kore50=kore50.benchmark.jsonl=outputs/measured/kore50.links.jsonl
```

The links are those that `evaluate_entity_linking` keeps of whole texts (`mode="full"`), so no model is needed. A
threshold "of the others" is fitted on all other sets, and shows what fitting is worth on texts that it has not seen.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_builders.entity_linking.catalogue import entity_document
from data_builders.records import read_records
from onegen_hf.evaluation import load_linking_rows
from onegen_hf.evaluation.linking.documents import LinkingDocument, read_linking_documents
from onegen_hf.evaluation.linking.scores import final_mentions, linking_ratios, threshold_sample
from onegen_hf.files import write_text_atomically
from onegen_hf.linking.threshold import fit_threshold

Mentions = Sequence[Sequence[Mapping[str, Any]]]


def found_kinds(documents: Sequence[LinkingDocument], mentions: Mentions) -> dict[str, list[float]]:
    """
    The best scores of the mentions that were found, by what they are: `right` and `wrong` ones of entities of the
    catalogue, those of entities that it `lacks`, and those that are `unlabelled`.
    """
    scores: dict[str, list[float]] = {"right": [], "wrong": [], "lacks": [], "unlabelled": []}
    for document, own in zip(documents, mentions, strict=True):
        begin, end = document.evaluation_span
        labels = {tuple(label["span"]): label for label in document.labels}
        for mention in own:
            if not (begin <= mention["start"] and mention["end"] <= end):
                continue
            best, label = mention["candidates"][0], labels.get((mention["start"], mention["end"]))
            if label is None:
                kind = "unlabelled"
            elif label["optional"]:
                continue
            elif label["entity_id"] == "NIL":
                kind = "lacks"
            else:
                kind = "right" if label["entity_id"] == best["entity_id"] else "wrong"
            scores[kind].append(best["score"])
    return scores


def scored(documents: Sequence[LinkingDocument], mentions: Mentions, threshold: float | None) -> dict[str, float]:
    """Precision, recall and F1 of linking at a threshold."""
    ratios = linking_ratios(documents, [final_mentions(one, threshold) for one in mentions], 10)
    names = ("micro_precision", "micro_recall", "micro_f1")
    sums = {name: [sum(part) for part in zip(*ratios[name], strict=True)] for name in names}
    return {name: round(right / total, 4) if total else 0.0 for name, (right, total) in sums.items()}


def declining(
    documents: Mapping[str, Sequence[LinkingDocument]], mentions: Mapping[str, Mentions], threshold: float
) -> dict[str, Any]:
    """For each set: how many mentions of each kind are declined at `threshold`, and F1 at several thresholds."""
    samples = {name: threshold_sample(documents[name], mentions[name]) for name in documents}
    results: dict[str, Any] = {}
    for name, own in documents.items():
        others = [sample for other, sample in samples.items() if other != name]
        thresholds: dict[str, float | None] = {"none": None, "checkpoint": threshold}
        thresholds["own"] = fit_threshold(*samples[name])
        if others:
            scores = [score for sample in others for score in sample[0]]
            right = [one for sample in others for one in sample[1]]
            thresholds["of the others"] = fit_threshold(scores, right, sum(sample[2] for sample in others))
        kinds = found_kinds(own, mentions[name])
        results[name] = {
            "texts": len(own),
            "found": {kind: len(scores) for kind, scores in kinds.items()},
            "declined": {kind: sum(score < threshold for score in scores) for kind, scores in kinds.items()},
            "thresholds": {
                kind: {"threshold": value and round(value, 4), **scored(own, mentions[name], value)}
                for kind, value in thresholds.items()
            },
        }
    return results


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--sets", nargs="+", required=True, help="NAME=BENCHMARK=LINKS")
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.56)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    entities = [entity_document(located.record)[0] for located in read_records(arguments.catalogue)]
    catalogue = [(entity.id, entity.title) for entity in entities]
    documents: dict[str, list[LinkingDocument]] = {}
    mentions: dict[str, list[Any]] = {}
    for one in arguments.sets:
        name, benchmark, links = one.split("=")
        documents[name] = read_linking_documents(load_linking_rows(benchmark), catalogue)
        lines = Path(links).read_text(encoding="utf-8").splitlines()
        mentions[name] = [json.loads(line)["mentions"] for line in lines]
    results = declining(documents, mentions, arguments.threshold)
    report = {"threshold": arguments.threshold, "results": results}
    write_text_atomically(arguments.out, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
