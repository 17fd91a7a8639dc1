"""Run by a Python that has vLLM: what it generates after rows of token ids, or their embeddings, as a JSON file."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(task: str, checkpoint: str, rows_file: str, out_file: str) -> None:
    """Write the outputs for every row."""
    from vllm import LLM, SamplingParams

    prompts = [{"prompt_token_ids": row} for row in json.loads(Path(rows_file).read_text())]
    settings = {"dtype": "float32", "enforce_eager": True, "max_model_len": 128, "max_num_seqs": 4}
    if task == "generate":
        sampling = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
        found = [list(o.outputs[0].token_ids) for o in LLM(checkpoint, **settings).generate(prompts, sampling)]
    else:
        embedder = LLM(checkpoint, runner="pooling", convert="embed", **settings)
        found = [list(o.outputs.embedding) for o in embedder.embed(prompts)]
    Path(out_file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
