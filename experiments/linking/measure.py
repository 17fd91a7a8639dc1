"""
Linkers on development texts: given mentions, and whole texts with several biases on opening a mention.

```
python -m experiments.linking.measure --models old=onegen_hf/default_linker new=outputs/linking/linker \
  --catalogue catalog.jsonl --development data/linking_tokens/development/*.jsonl --test kore50.benchmark.jsonl \
  --out outputs/linking/measured
```

The index of each model is kept in its folder of `--out`, and used again by a later run.

Every model is tried with each of `--biases` and the NIL threshold that is best for it; the best bias then serves the
test files. What was linked is kept, so that thresholds can be fitted anew without a model.
"""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import torch

from data_builders.entity_linking.catalogue import entity_document
from data_builders.records import read_records
from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.evaluation import LinkingReport, evaluate_entity_linking, fit_opening_bias, load_linking_rows
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import OneGenEntityLinkingPipeline

METRICS = ("micro_f1", "detection_precision", "detection_recall", "detection_f1", "recall@10")


def load_linker(model: str, catalogue: Path, device: str, dtype: str, saved: Path) -> OneGenEntityLinkingPipeline:
    """A linker with the entities of a catalogue, which it embeds unless their index was saved before."""
    loaded = OneGenForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).to(device).eval()
    tokenizer = load_tokenizer(model)
    if saved.is_dir():
        index = PassageIndex.load(saved)
    else:
        records = (entity_document(located.record)[0] for located in read_records(catalogue))
        entities = [{"id": one.id, "title": one.title, "text": one.text} for one in records]
        index = PassageIndex.build(loaded, tokenizer, entities, batch_size=256 if device != "cpu" else 32)
        index.save(saved)
    return OneGenEntityLinkingPipeline(model=loaded, tokenizer=tokenizer, index=index, device=device)


def summary(report: LinkingReport) -> dict[str, dict[str, float]]:
    """Data set → metric → value."""
    return {
        name: {metric: round(run.all.metrics[metric].value, 4) for metric in METRICS if metric in run.all.metrics}
        for name, run in report.results.items()
    }


def main() -> None:
    """Run the command."""
    parser = ArgumentParser(description=__doc__.partition("\n\n")[0].strip())
    parser.add_argument("--models", nargs="+", required=True, help="NAME=CHECKPOINT")
    parser.add_argument("--catalogue", type=Path, required=True)
    parser.add_argument("--development", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--biases", type=float, nargs="+", default=[0.0, -1.0, 1.0, 2.0])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--draft-tokens", type=int, default=0, help="Read ahead, shared by the texts of a batch.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--limit", type=int, help="Texts of each file.")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    development, test = (
        {path.name.partition(".")[0]: load_linking_rows(path)[: arguments.limit] for path in paths}
        for paths in (arguments.development, arguments.test)
    )
    start = time.monotonic()
    for model in arguments.models:
        name, _, checkpoint = model.partition("=")
        folder = arguments.out / name
        linker = load_linker(checkpoint, arguments.catalogue, arguments.device, arguments.dtype, folder / "index")
        shared: dict[str, Any] = {"batch_size": arguments.batch_size, "show_progress": False}

        def tell(what: str, values: dict[str, Any], name: str = name, folder: Path = folder) -> None:
            line = json.dumps({"at": round(time.monotonic() - start, 1), "model": name, "what": what, **values})
            print(line, flush=True)
            with (folder / "summary.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")

        folder.mkdir(parents=True, exist_ok=True)
        given = evaluate_entity_linking(linker, {**development, **test}, folder / "given", mode="given", **shared)
        tell("given", summary(given))
        shared["call_options"] = {"draft_tokens": arguments.draft_tokens}
        fitted = fit_opening_bias(linker, development, folder, arguments.biases, **shared)
        for bias, report in fitted.reports.items():
            tell(f"whole texts, bias {bias:g}, threshold {report.scoring['threshold']:.3f}", summary(report))
        if test:
            linker.model.onegen_config.opening_bias = fitted.bias
            report = evaluate_entity_linking(linker, test, folder / "test", threshold=fitted.threshold, **shared)
            tell(f"test, bias {fitted.bias:g}", summary(report))


if __name__ == "__main__":
    main()
