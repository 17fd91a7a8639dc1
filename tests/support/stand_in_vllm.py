"""A stand-in for vLLM's sessions: the same interface, over a forward of the whole text for each token."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
import torch

from onegen_hf.serving.engines.vllm.state_files import StateFiles


@dataclass
class SamplingParams:
    max_tokens: int
    temperature: float
    top_p: float
    logprobs: int | None
    seed: int | None
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool
    output_kind: Any
    extra_args: dict[str, Any]


@dataclass
class TokensPrompt:
    prompt_token_ids: list[int]


@dataclass
class StreamingInput:
    prompt: TokensPrompt
    sampling_params: SamplingParams


class RequestOutputKind(Enum):
    DELTA = 1


@dataclass
class Logprob:
    logprob: float


@dataclass
class Output:
    token_ids: list[int]
    finish_reason: str | None
    logprobs: list[dict[int, Logprob]]


@dataclass
class Outputs:
    outputs: list[Output] = field(default_factory=list)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import vllm` gives the names above."""
    modules = {
        "vllm": {"SamplingParams": SamplingParams, "TokensPrompt": TokensPrompt},
        "vllm.engine": {},
        "vllm.engine.protocol": {"StreamingInput": StreamingInput},
        "vllm.sampling_params": {"RequestOutputKind": RequestOutputKind},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


class StandIn:
    """
    Decodes greedily. As in vLLM, the last token of a chunk is not read, and dropped when the next chunk comes.

    Args:
        model ([`OneGenForCausalLM`])
        stalls (`int`, *optional*, defaults to 0): Sessions stand still after so many tokens; 0 for never.
    """

    def __init__(self, model: Any, stalls: int = 0) -> None:
        self.model = model
        self.stalls = stalls
        self.fed = 0
        self.open = 0

    async def generate(self, prompt: Any, params: Any, name: str) -> AsyncGenerator[Outputs, None]:
        self.open += 1
        try:
            if isinstance(prompt, TokensPrompt):
                async for output in self._chunk(list(prompt.prompt_token_ids), 0, params, 0):
                    yield output
                return
            read: list[int] = []
            async for chunk in prompt:
                ids = [*read, *chunk.prompt.prompt_token_ids]
                async for output in self._chunk(ids, len(read), chunk.sampling_params, self.stalls):
                    yield output
                read = ids[:-1]
        finally:
            self.open -= 1

    async def _chunk(self, ids: list[int], read: int, params: Any, stalls: int) -> AsyncIterator[Outputs]:
        settings, output = params.extra_args["onegen"], []
        while True:
            await asyncio.sleep(0)
            if stalls and len(output) == stalls:
                await asyncio.sleep(3600)
            with torch.no_grad():
                forward = self.model(torch.tensor([ids]), output_hidden_states=True)
            self.fed += len(ids) - read
            read = len(ids)
            logits = forward.logits[0, -1].float()
            raw = logits.log_softmax(-1)
            if output[-1] == settings["query"] if output else settings["ask"]:
                state = forward.hidden_states[-1][0, -1].numpy()
                StateFiles(settings["directory"]).put(settings["key"], state)
                token = settings["stop"]
            else:
                threshold = settings["threshold"]
                forced = threshold is not None and float(logits.softmax(-1)[settings["query"]]) > threshold
                if len(output) > settings["ban_after"] or (threshold is not None and not forced):
                    logits[settings["query"]] = -torch.inf
                token = settings["query"] if forced and len(output) <= settings["ban_after"] else int(logits.argmax())
            output.append(token)
            ids.append(token)
            stopped = token in params.stop_token_ids
            ended = "stop" if stopped else "length" if len(output) == params.max_tokens else None
            yield Outputs([Output([token], ended, [{token: Logprob(float(raw[token]))}])])
            if ended:
                return
