"""
Turns a trained adapter into the checkpoint that comes with the package: bfloat16, with the index of the fact corpus.

```
python recipes/pack_default_checkpoint.py outputs/default_checkpoint_2 --documents data/facts
```

The folder's training_log_1.txt and README.md are left alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.adapters import load_adapter, save_adapter
from onegen_hf.auto import load_tokenizer
from onegen_hf.corpora import load_documents
from onegen_hf.pipelines import DEFAULT_CHECKPOINT


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", type=Path, help="output directory of the training")
    parser.add_argument("--documents", required=True, help="dataset repository of the fact corpus")
    parser.add_argument("--out", type=Path, default=DEFAULT_CHECKPOINT)
    options = parser.parse_args()

    adapted, tokenizer = load_adapter(options.adapter, merge=False), load_tokenizer(options.adapter)
    base = adapted.get_base_model()
    base.onegen_config.default_index = "./index"
    base.set_onegen_config(base.onegen_config)
    save_adapter(adapted, tokenizer, options.out, dtype=torch.bfloat16)
    for name in ("training_args.json", "trainer_state.json"):
        content = json.loads((options.adapter / name).read_text(encoding="utf-8"))
        content.pop("output_dir", None)
        (options.out / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    model = OneGenForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    documents = load_documents(options.documents)
    index = PassageIndex.build(model, tokenizer, documents, model_id="the checkpoint that comes with onegen-hf")
    index.save(options.out / "index")


if __name__ == "__main__":
    main()
