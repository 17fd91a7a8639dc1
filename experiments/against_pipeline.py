"""
Does one model answer better than a pipeline of a language model and a separate retriever?

```
python -m experiments.against_pipeline --data data/wiki2hop
```

OneGen is `base` of `experiments.variants`. The pipeline's language model is `no_retrieval_loss`: the same weights to
start with, the same text, the same examples in the same order, and no contrastive loss; where it writes the query
token, a retriever is asked with the question that it has written. Retrievers: all-MiniLM-L6-v2 as it is, the same
after training on the pairs of the same examples, and BM25. The gold passages are the upper bound of each language
model. Differences are paired by question, with 95 % intervals. Models that `experiments.variants` has trained already
are taken from `--out`.

With `--model` nothing but the encoder is trained: the checkpoint answers with its own retrieval, and with that of each
retriever in its place; the result is called by it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alternatives.encoder import load_minilm
from benchmarks.plot import Panel, plot_bars
from benchmarks.report import low_mean_high, write_result
from benchmarks.tiny import tiny_encoder
from experiments import RESULTS, variants
from experiments.study import VARIANTS, Setup, StudyData, load_trained, side_by_side, train_variant
from experiments.study.retrievers import Bm25Retriever, EncoderRetriever, Retriever, fine_tuned, pipeline_decoder
from experiments.study.scores import Interval, intervals
from onegen_hf import OneGenRagPipeline, PassageIndex
from onegen_hf.evaluation import evaluate_rag
from onegen_hf.evaluation.report import GOLD
from onegen_hf.generation import OnePassDecoder
from onegen_hf.metrics import answer_f1, ratio_confidence_interval
from onegen_hf.pipelines.checkpoint import where_it_is

NAME = "against_pipeline"
ONE_PASS = "one pass"
ONEGEN, LANGUAGE_MODEL = "base", "no_retrieval_loss"
METRICS = ("recall@1", "recall@5", "exact_match", "f1")


def retrievers(data: StudyData, setup: Setup, out: Path, seed: int, quick: bool) -> dict[str, Retriever]:
    """What the pipeline retrieves with."""

    def encoder() -> Any:
        return tiny_encoder(out) if quick else load_minilm("float32", setup.device)

    passages = list(data.searched_store())
    tuned = fine_tuned(encoder(), data, setup.examples, out / f"encoder-{seed}", seed)
    return {
        "MiniLM": EncoderRetriever(encoder(), passages),
        "MiniLM, trained on the same pairs": EncoderRetriever(tuned, passages),
        "BM25": Bm25Retriever(passages),
    }


def answer(
    rag: OneGenRagPipeline, data: StudyData, out: Path, decoder: type[OnePassDecoder], gold: bool, batch_size: int
) -> tuple[dict[str, Any], list[float]]:
    """Scores of a contender, and the F1 of each question."""
    kept: dict[str, Any] = {"batch_size": batch_size, "max_new_tokens": 192, "show_progress": False}
    report = evaluate_rag(rag, data.questions, out, gold_passages=gold, decoder_class=decoder, **kept)
    scores: dict[str, Any] = {"retrieved": intervals(report.results["retrieved"], METRICS)}
    if gold:
        scores["gold_passages"] = intervals(report.results[GOLD], METRICS[2:])
    return scores, question_f1(out, data)


def question_f1(out: Path, data: StudyData) -> list[float]:
    """F1 of each question, in their order."""
    lines = (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    given = [json.loads(line)["answer"] or "" for line in lines]
    return [answer_f1(one, gold) for one, gold in zip(given, data.questions["answers"], strict=True)]


def difference(own: Sequence[float], other: Sequence[float]) -> Interval:
    """Mean of the paired differences in points of F1, with its interval."""
    pairs = [100 * (a - b) for a, b in zip(own, other, strict=True)]
    low, high = ratio_confidence_interval(pairs, [1.0] * len(pairs))
    return [round(value, 2) for value in (sum(pairs) / len(pairs), low, high)]


def one_seed(
    seed: int, setup: Setup, data: StudyData, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """What is said of all contenders of a seed, and their F1 by question."""
    out = Path(options.out)
    results: dict[str, Any] = {}
    f1: dict[str, list[float]] = {}
    found = retrievers(data, setup, out, seed, options.quick)
    pipelines = {name: pipeline_decoder(retriever) for name, retriever in found.items()}
    for path, contenders in contenders_of(pipelines, seed, setup, data, options).items():
        model, tokenizer = load_trained(VARIANTS[ONEGEN], setup, path, seed)
        own = out / path.name
        index = PassageIndex.build(
            model, tokenizer, data.searched, checkpoint_dir=own / "encoding", show_progress=False
        )
        rag = OneGenRagPipeline(model=model, tokenizer=tokenizer, index=index, **where_it_is(model))
        for number, (label, decoder) in enumerate(contenders.items()):
            folder = own / "against_pipeline" / f"{number}-{seed}"
            results[label], f1[label] = answer(rag, data, folder, decoder, number == 0, options.batch_size)
    return {"contenders": results, "points_of_f1_ahead_of": ahead_of(f1)}, f1


def ahead_of(f1: Mapping[str, Sequence[float]]) -> dict[str, Interval]:
    """By how much one pass is ahead of the others."""
    return {label: difference(f1[ONE_PASS], own) for label, own in f1.items() if label != ONE_PASS}


def of_seeds(f1: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """The mean F1 of each contender between those of single seeds, and differences of each question's mean F1."""
    means = {label: np.mean([own[label] for own in f1], axis=0).tolist() for label in f1[0]}
    return {
        "f1": {label: low_mean_high([float(np.mean(own[label])) for own in f1]) for label in means},
        "points_of_f1_ahead_of": ahead_of(means),
    }


def contenders_of(
    pipelines: dict[str, type[OnePassDecoder]], seed: int, setup: Setup, data: StudyData, options: argparse.Namespace
) -> dict[Path, dict[str, type[OnePassDecoder]]]:
    """Folder of a trained model → who answers with it."""
    one_pass: dict[str, type[OnePassDecoder]] = {ONE_PASS: OnePassDecoder}
    if options.model is not None:
        return {Path(options.model): {**one_pass, **pipelines}}
    paths = {name: Path(options.out) / f"{name}-{seed}" for name in (ONEGEN, LANGUAGE_MODEL)}
    for name, path in paths.items():
        train_variant(VARIANTS[name], setup, data, path, seed)
    return {paths[ONEGEN]: one_pass, paths[LANGUAGE_MODEL]: pipelines}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those that `experiments.variants` does not have."""
    parser.add_argument("--model", help="a trained checkpoint, with which all answer")


def main() -> None:
    """Run the measurement."""
    options = variants.parse(description=__doc__, add_options=add_options)
    name = options.name.replace(variants.NAME, NAME)
    setup, data, settings = variants.load(options)
    if options.model is not None:
        settings["model"] = Path(options.model).name
        del settings["embedded_tokens"], settings["inserted_tokens"]  # the checkpoint has its own
        name = f"{name}_{settings['model']}"
    tasks = [(seed, setup, data, options) for seed in options.seeds]
    found = {seed: own for (seed, *_), own in side_by_side(one_seed, tasks, options.processes)}
    runs = {str(seed): found[seed][0] for seed in options.seeds}
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "Does one model answer better than a pipeline of a language model and a separate retriever?",
            "settings": settings,
            "seeds": runs,
            **({"all_seeds": of_seeds([found[seed][1] for seed in options.seeds])} if len(runs) > 1 else {}),
        },
    )
    bars = {
        f"{label}, seed {seed}": {"": [low, value, high]}
        for seed, run in runs.items()
        for label, own in run["contenders"].items()
        for value, low, high in [own["retrieved"]["f1"]]
    }
    plot_bars(RESULTS / f"{name}.svg", Panel("Answers", "", "F1", bars))


if __name__ == "__main__":
    main()
