"""
Ask questions, and see what was retrieved on the way.

```
python examples/ask_questions.py "Where was the director of Titanic born?"
```

By default the built-in checkpoint answers over its built-in passages. With the index of build_index.py:

```
python examples/ask_questions.py --index outputs/examples/index "When was the director of The Tin Boat born?"
```
"""

from __future__ import annotations

import argparse

from transformers import pipeline

import onegen_hf  # noqa: F401  (registers the pipeline)


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=["Where was the director of Titanic born?"])
    parser.add_argument("--model", help="by default the built-in checkpoint")
    parser.add_argument("--index", help="by default the model's own")
    parser.add_argument("--top-k", type=int, default=1, help="passages per retrieval")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    return parser.parse_args()


def main() -> None:
    """Run the example."""
    options = parse()

    # 1. The pipeline: a model with its tokenizer and an index.
    rag = pipeline("onegen-rag", model=options.model, index=options.index)

    # 2. The answers: one pass over each question, whatever the number of retrievals.
    results = rag(options.questions, k=options.top_k, max_new_tokens=options.max_new_tokens, batch_size=8)

    # 3. The result: the answer, each query with its passages, and how many tokens went through the decoder.
    for question, result in zip(options.questions, results, strict=True):
        print(f"{question}\n  answer: {result['answer']}")
        for retrieval in result["retrievals"]:
            titles = ", ".join(f"{passage['title']} ({passage['score']:.2f})" for passage in retrieval["passages"])
            print(f"  {retrieval['query']} -> {titles}")
        print(f"  {result['usage']['forwarded_tokens']} tokens in {result['usage']['forward_calls']} forwards")


if __name__ == "__main__":
    main()
