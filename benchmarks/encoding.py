"""
How many more passages per second does an index encode than SentenceTransformer with the same backbone?

```
python -m benchmarks.encoding --data data/wiki2hop
```

The same weights, dtype, passages, batch size and tokens, taking turns within each repeat; ratios are taken per repeat.
Passages of the fact corpus without `--data`.

- `onegen`: [`encode_passages`], as [`PassageIndex.build`] calls it.
- `sentence_transformer`: a `SentenceTransformer` of the library's own modules `Transformer` and `Pooling`, which reads
  the passages with their document token, and takes the state at that.
- `as_sentence_transformer`: ours, which takes the batches of `SentenceTransformer` through the code of `onegen`.

All give the same embeddings: the result states the least cosine.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from benchmarks import RESULTS
from benchmarks.alternatives.components import tiny_components
from benchmarks.plot import Panel, plot_bars
from benchmarks.report import result_name, spread, write_result
from data_builders.facts.builder import build_facts
from onegen_hf import OneGenConfig, OneGenForCausalLM, Passage
from onegen_hf.data.loading import load_documents
from onegen_hf.data.passages import PassageEncoder
from onegen_hf.index.encode import encode_passages
from onegen_hf.modeling.backbones import SMOLLM2, load_backbone
from onegen_hf.sentence_transformer import as_sentence_transformer

NAME = "encoding"


def load_model(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model and its tokenizer; random and tiny with `--quick`."""
    if options.quick:
        components = tiny_components(options.dtype, options.device)
        return components.model, components.tokenizer
    backbone, tokenizer = load_backbone(SMOLLM2, dtype=options.dtype)
    settings = OneGenConfig(max_embedded_tokens=options.max_embedded_tokens)
    model = OneGenForCausalLM.from_backbone(backbone, tokenizer, onegen_config=settings)
    return model.to(options.device).eval(), tokenizer


def library_sentence_transformer(model: Any, tokenizer: Any, options: argparse.Namespace) -> SentenceTransformer:
    """The backbone as the library's own modules run it."""
    reader = copy.deepcopy(tokenizer)
    reader.chat_template = None  # a passage is no turn of a conversation
    with tempfile.TemporaryDirectory() as directory:
        model.save_pretrained(directory, remote_code=False)
        reader.save_pretrained(directory)
        transformer = Transformer(directory, model_kwargs={"dtype": options.dtype})
    pooling = Pooling(model.config.get_text_config().hidden_size, "lasttoken")
    return SentenceTransformer(modules=[transformer, pooling], device=options.device)


def load_passages(options: argparse.Namespace, encoder: PassageEncoder) -> tuple[list[Passage], int]:
    """As many passages as are asked for, spread over the corpus, none of which is cut; and their tokens."""
    documents = build_facts(train_size=100)[0] if options.data is None else load_documents(options.data)
    passages = [Passage.from_record(record, number) for number, record in enumerate(documents)]
    rows = [encoder.row(passage) for passage in passages]
    whole = [number for number, row in enumerate(rows) if not row.truncated]
    chosen = whole[:: max(1, len(whole) // options.passages)][: options.passages]
    return [passages[number] for number in chosen], sum(len(rows[number].input_ids) for number in chosen)


def unit(embeddings: Any) -> np.ndarray:
    """Of unit length, in float32."""
    values = np.asarray(embeddings, np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="dataset repository or file with documents; by default the fact corpus")
    parser.add_argument("--passages", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-embedded-tokens", type=int, default=512, help="longest passage, in tokens")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", default=NAME, help="of the result file")
    parser.add_argument("--quick", action="store_true", help="a tiny random model, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.passages, options.repeats, options.dtype = 40, 2, "float32"
    return options


def main() -> None:
    """Run the measurement."""
    options = parse()
    model, tokenizer = load_model(options)
    encoder = PassageEncoder(tokenizer, model.onegen_config)
    passages, tokens = load_passages(options, encoder)
    library = library_sentence_transformer(model, tokenizer, options)
    ours = as_sentence_transformer(model, tokenizer)
    texts = [encoder.render(passage) + model.onegen_config.tokens.document for passage in passages]
    size = options.batch_size
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "onegen": lambda: encode_passages(model, tokenizer, passages, size, show_progress=False).embeddings,
        "sentence_transformer": lambda: library.encode(texts, batch_size=size, convert_to_tensor=True).float().cpu(),
        "as_sentence_transformer": lambda: ours.encode_document(passages, batch_size=size),
    }
    found = {name: unit(encode()) for name, encode in kinds.items()}  # the first call warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for repeat in range(options.repeats):
        turn = repeat % len(kinds)
        for name in [*list(kinds)[turn:], *list(kinds)[:turn]]:
            start = time.perf_counter()
            kinds[name]()
            seconds[name].append(time.perf_counter() - start)
    name = result_name(options.name, options.quick)
    rates = {kind: spread([len(passages) / second for second in taken]) for kind, taken in seconds.items()}
    write_result(
        RESULTS / f"{name}.json",
        {
            "question": "How many more passages per second does an index encode than SentenceTransformer?",
            "dtype": options.dtype,
            "batch_size": size,
            "passages": len(passages),
            "tokens": tokens,
            "repeats": options.repeats,
            "passages_per_second": rates,
            "onegen_is_faster_by": {
                kind: spread([other / own for own, other in zip(seconds["onegen"], taken, strict=True)])
                for kind, taken in seconds.items()
                if kind != "onegen"
            },
            "least_cosine": {
                kind: round(float((found["onegen"] * other).sum(axis=1).min()), 4)
                for kind, other in found.items()
                if kind != "onegen"
            },
        },
    )
    plot_bars(
        RESULTS / f"{name}.svg",
        Panel("Encoding", "", "passages per second", {kind: {kind: rate} for kind, rate in rates.items()}),
    )


if __name__ == "__main__":
    main()
