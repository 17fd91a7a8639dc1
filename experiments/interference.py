"""
Why do the two losses not get in each other's way, and in which layer does the retrieval signal live?

```
python -m experiments.interference --data data/wiki2hop
```

While `bpr_sum` of `experiments.variants` is trained, whose retrieval loss pulls hardest, the gradients of the two
losses are compared on held-out batches, layer by layer. Then every layer's states at query and document tokens are
searched with, before and after training. The trained model stays in `--out`, where `experiments.variants` finds it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.plot import Panel, plot_lines
from benchmarks.report import write_result
from experiments import RESULTS, variants
from experiments.study import VARIANTS, Setup, StudyData, load_trained, train_variant
from experiments.study.gradients import GradientCosines
from experiments.study.probes import recall_by_layer
from onegen_hf import OneGenDataCollator

NAME = "interference"
WATCHED = "bpr_sum"
SHARES = (0.0, 0.1, 0.25, 0.5)
"""Of the steps after which gradients are compared; also at the end."""
PROBE_BATCHES, PROBE_SIZE = 3, 4


def probe_batches(setup: Setup, data: StudyData, seed: int) -> list[Any]:
    """Batches of held-out examples, the same at every step."""
    model, tokenizer = setup.untrained(VARIANTS[WATCHED], seed)
    collator = OneGenDataCollator(tokenizer, data.store(), model.onegen_config, num_hard_negatives=1)
    rows = list(data.questions)
    cut = [rows[start : start + PROBE_SIZE] for start in range(0, PROBE_BATCHES * PROBE_SIZE, PROBE_SIZE)]
    return [collator(own) for own in cut if own]


def watched_training(setup: Setup, data: StudyData, path: Path, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of the training of the variant, and its record of gradients."""
    record = path / "gradients.json"
    if not record.is_file():
        shutil.rmtree(path, ignore_errors=True)
    steps = setup.examples // setup.batch_size
    watch = GradientCosines(probe_batches(setup, data, seed), [round(share * steps) for share in SHARES], record)
    facts = train_variant(VARIANTS[WATCHED], setup, data, path, seed, callbacks=[watch])
    return facts, json.loads(record.read_text(encoding="utf-8"))


def main() -> None:
    """Run the measurement."""
    options = variants.parse(description=__doc__)
    name = options.name.replace(variants.NAME, NAME)
    setup, data, settings = variants.load(options)
    seed = options.seeds[0]
    path = Path(options.out) / f"{WATCHED}-{seed}"
    facts, gradients = watched_training(setup, data, path, seed)
    before = recall_by_layer(*setup.untrained(VARIANTS[WATCHED], seed), data)
    after = recall_by_layer(*load_trained(VARIANTS[WATCHED], setup, path, seed), data)
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "Why do the two losses not get in each other's way, and where does the retrieval signal live?",
            "settings": {**settings, "seed": seed},
            "training": facts,
            "gradient_cosine_and_ratio_by_step_and_layer": gradients,
            "recall@1_by_layer": {"untrained": before, "trained": after},
        },
    )
    cosines = {
        f"step {step}": {int(layer) + 1: both[0] for layer, both in own.items() if layer.isdigit()}
        for step, own in gradients.items()
    }
    recall = {label: dict(enumerate(own)) for label, own in (("untrained", before), ("trained", after))}
    plot_lines(
        RESULTS / f"{name}.svg",
        Panel("Gradients of both losses", "layer", "cosine", cosines),
        Panel("Searching with a layer's states", "layer", "recall@1", recall),
    )


if __name__ == "__main__":
    main()
