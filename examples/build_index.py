"""
Embed passages and build a searchable index.

```
python examples/build_index.py --output-dir outputs/examples/index
```

By default the built-in checkpoint embeds three passages. `--passages` takes a JSON-lines, Parquet or CSV file, or a
dataset repository with the config `documents`.
"""

from __future__ import annotations

import argparse

from onegen_hf import OneGenForCausalLM, PassageIndex
from onegen_hf.data.loading import load_documents
from onegen_hf.modeling import load_tokenizer
from onegen_hf.pipelines import DEFAULT_CHECKPOINT

PASSAGES = [
    {"id": "boat", "title": "The Tin Boat", "text": "The Tin Boat is a 1962 British film directed by Ada Moll."},
    {"id": "moll", "title": "Ada Moll", "text": "Ada Moll (born 4 May 1921) was a film director from Fern Bay."},
    {"id": "bay", "title": "Fern Bay", "text": "Fern Bay is a town by the sea."},
]


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(DEFAULT_CHECKPOINT), help="by default the built-in checkpoint")
    parser.add_argument("--passages", help="file or dataset repository; by default three passages of this script")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--output-dir", default="outputs/examples/index")
    return parser.parse_args()


def main() -> None:
    """Run the example."""
    options = parse()

    # 1. The passages: an id, a title and a text each.
    passages = PASSAGES if options.passages is None else load_documents(options.passages)

    # 2. The model that will also ask the questions: an index belongs to the model that made it.
    model = OneGenForCausalLM.from_pretrained(options.model, dtype="float32").eval()
    tokenizer = load_tokenizer(options.model)

    # 3. One embedding per passage: the hidden state at its document token `[RD]`.
    index = PassageIndex.build(model, tokenizer, passages, batch_size=options.batch_size)

    # 4. Save: index.faiss, passages.parquet and index.json with the fingerprint of the model.
    index.save(options.output_dir)
    print(f"{index} is in {options.output_dir}.")


if __name__ == "__main__":
    main()
