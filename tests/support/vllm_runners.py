"""
Runs in the environment that holds vLLM: the logits processors for its two model runners, side by side.

```
python -m support.vllm_runners RESULT.json
```

No model runs. Requests with random logits and states go through both processors as either runner would hand them over:
V1 with the list of a request's tokens, V2 with slots, positions and the tokens that were just read.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

VOCABULARY, HIDDEN, REQUESTS = 24, 8, 6
QUERY, STOP = 5, 7


@dataclass(eq=False)
class Request:
    """A request of both runners; a chunk of a session is a new one under the same name."""

    name: str
    row: int
    prompt: list[int]
    settings: dict[str, Any] | None
    output: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.output)


class Slots:
    """V2's slots; its own buffers need an accelerator."""

    def __init__(self) -> None:
        self.prompt_len, self.prefill_len = (SimpleNamespace(np=np.zeros(REQUESTS, np.int32)) for _ in range(2))
        self.of: dict[str, int] = {}
        self._free = list(range(REQUESTS))

    def add(self, name: str, prompt: int, prefill: int) -> int:
        """A request that is there already gets another slot, as in V2."""
        if name in self.of:
            self._free.insert(0, self.of.pop(name))
        self.of[name] = slot = self._free.pop()
        self.prompt_len.np[slot], self.prefill_len.np[slot] = prompt, prefill
        return slot


class Runners:
    """What either model runner keeps of its requests, as far as processors see it."""

    def __init__(self, directories: tuple[str, str]) -> None:
        from vllm.v1.worker.gpu.sample.logits_processor import build_custom_logits_processors

        from onegen_hf.serving.engines.vllm import worker
        from onegen_hf.serving.engines.vllm.engine import WORKERS

        self.worker: Any = worker
        self.worker.get_tensor_model_parallel_rank = lambda: 0  # there are no groups of processes here
        self.directories = directories
        self.slots = Slots()
        state: Any = SimpleNamespace(
            device=torch.device("cpu"), max_num_reqs=REQUESTS, vocab_size=VOCABULARY, all_token_ids=None,
            total_len=None, prompt_len=self.slots.prompt_len, prefill_len=self.slots.prefill_len,
        )  # fmt: skip
        self.v1 = worker.QueryStates(None, torch.device("cpu"), False)
        (self.v2,) = build_custom_logits_processors(None, state, False, [WORKERS[True]])  # type: ignore[arg-type]
        self.requests: list[Request] = []

    def params(self, request: Request, directory: str) -> Any:
        from vllm import SamplingParams

        if request.settings is None:
            return SamplingParams()
        return SamplingParams(extra_args={"onegen": {**request.settings, "directory": directory, "key": request.name}})

    def add(self, request: Request) -> None:
        """A request, or a session's next chunk, joins."""
        from vllm.v1.sample.logits_processor import BatchUpdate

        entry = (request.row, self.params(request, self.directories[0]), request.prompt, request.output)
        self.v1.update_state(BatchUpdate(batch_size=REQUESTS, removed=[], added=[entry], moved=[]))
        self.requests = [other for other in self.requests if other.row != request.row] + [request]
        self.readd(request)

    def readd(self, request: Request) -> None:
        """V2 also adds a request anew that was preempted: with what it has written."""
        slot = self.slots.add(request.name, len(request.prompt), request.length)
        self.v2.add_request(slot, self.params(request, self.directories[1]))

    def step(self, generator: torch.Generator) -> list[torch.Tensor]:
        """The logits that either processor leaves; each request writes the best token of V1's."""
        self.requests.sort(key=lambda request: request.row)
        logits = 4 * torch.randn(len(self.requests), VOCABULARY, generator=generator)
        states = torch.randn(len(self.requests), HIDDEN, generator=generator)
        self.worker._states["rows"] = states
        rows = torch.zeros(REQUESTS, VOCABULARY)
        for place, request in enumerate(self.requests):
            rows[request.row] = logits[place]
        by_row = torch.zeros(REQUESTS, HIDDEN)
        by_row[[request.row for request in self.requests]] = states
        self.worker._states["rows"] = by_row
        first = self.v1.apply(rows)[[request.row for request in self.requests]]
        self.worker._states["rows"] = states
        second = self.v2.apply(logits.clone(), self.context(self.requests))
        for request, token in zip(self.requests, first.argmax(dim=-1).tolist(), strict=True):
            request.output.append(token)
        return [first, second]

    def context(self, requests: list[Request], unread: int = 0) -> Any:
        """V2's layout of a step in which all but `unread` tokens of each request have been read."""
        from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext

        slots = np.array([self.slots.of[request.name] for request in requests])
        fed = [[*request.prompt, *request.output][request.length - 1 - unread] for request in requests]
        mapping = torch.from_numpy(slots)
        return LogitsContext(
            expanded_idx_mapping=mapping,
            idx_mapping=mapping,
            idx_mapping_np=slots,
            expanded_local_pos=torch.zeros(len(requests), dtype=torch.int32),
            input_ids=torch.tensor(fed, dtype=torch.int32),
            pos=torch.tensor([request.length - 1 - unread for request in requests]),
            seq_lens_upper_bound_np=np.array([request.length for request in requests]),
        )


def chunk(chance: random.Random, name: str, row: int, prompt: list[int]) -> Request:
    """With settings as the engine sends them, or none."""
    asks = prompt[-1] == QUERY and chance.random() < 0.7
    settings = {
        "query": QUERY,
        "stop": STOP,
        "ask": asks,
        "ban_after": chance.choice([-1, 2, 1 << 30]),
        "threshold": chance.choice([None, 0.05, 0.3]),
    }
    return Request(name, row, prompt, None if chance.random() < 0.15 else settings)


def main() -> None:
    """Random requests come, write, are preempted and go on with their next chunk."""
    from onegen_hf.serving.engines.vllm.state_files import StateFiles

    chance, generator = random.Random(0), torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        runners, files = Runners((first, second)), (StateFiles(first), StateFiles(second))
        counts = {"steps": 0, "different": 0, "states": 0, "forced": 0, "partial": 0}
        for _ in range(1000):
            for row in range(REQUESTS):
                request = next((each for each in runners.requests if each.row == row), None)
                if request is None or chance.random() < 0.15 or request.output[-1:] == [STOP]:
                    # A new request, or the next chunk of one: what was written is its prompt.
                    name = f"r{row}"
                    before = [] if request is None or chance.random() < 0.3 else [*request.prompt, *request.output]
                    new = [chance.randrange(VOCABULARY) for _ in range(chance.randint(1, 4))]
                    runners.add(chunk(chance, name, row, [*before, *new][-100:]))
                elif chance.random() < 0.1:
                    runners.readd(request)
            logits = runners.step(generator)
            counts["steps"] += 1
            counts["different"] += not torch.equal(*logits)
            counts["forced"] += int((logits[0] == -torch.inf).sum(dim=-1).eq(VOCABULARY - 1).sum())
            for request in runners.requests:
                kept = [each.take(request.name) for each in files]
                counts["different"] += not np.array_equal(*([] if k is None else k for k in kept))  # type: ignore[misc]
                counts["states"] += kept[0] is not None
        # Of a prompt that has been read in part, V2 has rows as well; nothing is kept of them.
        request = Request("r0", 0, [1, QUERY, 2, 3], {"query": QUERY, "stop": STOP, "ask": True, "threshold": 0.0})
        runners.add(request)
        plain = torch.randn(1, VOCABULARY, generator=generator)
        left = runners.v2.apply(plain.clone(), runners.context([request], unread=2))
        counts["partial"] = int(torch.equal(left, plain) and files[1].take("r0") is None)
    Path(sys.argv[1]).write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
