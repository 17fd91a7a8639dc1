"""What a step costs beside the model: on an accelerator, each operation of the loop is one more to launch."""

from __future__ import annotations

from typing import Any

import pytest
from support.decoding_setup import PROMPTS, Setup
from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """Counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(setup: Setup, prompts: list[str], tokens: int, **options: Any) -> int:
    with Operations() as counted:
        setup.run(prompts, script=[], max_new_tokens=tokens, min_new_tokens=tokens, **options)
    return counted.count


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS], ids=["equal lengths", "unlike lengths"])
def test_further_rows_take_no_operations(setup_for: Any, prompts: list[str]) -> None:
    setup = setup_for("llama_tied")
    # Without retrieval, every row has a banned token at every step.
    few, many = (
        operations(setup, rows, 12, max_hops=0) - operations(setup, rows, 4, max_hops=0)
        for rows in (prompts * 2, prompts * 6)
    )
    assert few == many


def test_a_step_takes_few_operations_more_than_generate(setup_for: Any) -> None:
    setup = setup_for("llama_tied")
    inputs = setup.tokenizer(PROMPTS[:1] * 3, return_tensors="pt")
    counts = []
    for tokens in (4, 12):
        with Operations() as counted:
            setup.model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        counts.append(counted.count)
    own = operations(setup, PROMPTS[:1] * 3, 12, max_hops=0) - operations(setup, PROMPTS[:1] * 3, 4, max_hops=0)
    # Four views for each layer's part of the cache (where `generate` copies all that is there), and a few operations
    # for states and bans.
    layers = setup.model.config.num_hidden_layers
    assert own <= counts[1] - counts[0] + 8 * (4 * layers + 20)
