"""
Writes the bundled checkpoint as a plain one, with its adapter merged, so that further tokens can be added to it.

```
python recipes/merge_default_checkpoint.py outputs/bundled_merged
```
"""

from __future__ import annotations

import argparse

from onegen_hf import OneGenForCausalLM
from onegen_hf.modeling.tokenizers import load_tokenizer
from onegen_hf.presets import DEFAULT_CHECKPOINT


def main() -> None:
    """Merge and save."""
    parser = argparse.ArgumentParser(description="Write the bundled checkpoint with its adapter merged.")
    parser.add_argument("output_dir", help="where the checkpoint goes")
    output_dir = parser.parse_args().output_dir
    OneGenForCausalLM.from_pretrained(DEFAULT_CHECKPOINT, dtype="float32").save_pretrained(output_dir)
    load_tokenizer(DEFAULT_CHECKPOINT).save_pretrained(output_dir)


if __name__ == "__main__":
    main()
