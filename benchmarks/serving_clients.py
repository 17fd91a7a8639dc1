"""The clients of [`benchmarks.serving`]: each sends one question after the other, until the time is up."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

WARM_UP = 0.2
"""
Share of the time before answers are counted and memory is compared with itself. What is under way at the end counts
for nothing, so that only answers between two moments under full load give a rate.
"""
REPORT_SECONDS = 10.0
AFTER_ERROR_SECONDS = 1.0


@dataclass
class Client:
    """What one client has seen."""

    key: str
    seconds: list[float] = field(default_factory=list)
    first_token: list[float] = field(default_factory=list)
    answers: list[tuple[str, list[str]]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def ask(self, http: httpx.AsyncClient, body: dict[str, Any], question: str, streamed: bool) -> None:
        """One request."""
        messages = [{"role": "user", "content": question}]
        headers = {"Authorization": f"Bearer {self.key}"}
        start, first, answer = time.perf_counter(), None, list[str]()
        async with http.stream(
            "POST", "/v1/chat/completions", json={**body, "messages": messages, "stream": streamed}, headers=headers
        ) as response:
            if response.status_code != 200:
                await response.aread()
                raise httpx.HTTPError(f"{response.status_code} {response.text[:100]}")
            async for line in response.aiter_lines():
                if not line or line == "data: [DONE]":
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise httpx.HTTPError(chunk["error"]["message"])
                if streamed and first is None and chunk["choices"][0]["delta"].get("content"):
                    first = time.perf_counter() - start
                if "answer" in chunk:
                    answer = [chunk["answer"], *(hop["query"] for hop in chunk["retrievals"])]
        self.ends.append(time.perf_counter())
        self.seconds.append(self.ends[-1] - start)
        self.answers.append((question, answer))
        if first is not None:
            self.first_token.append(first)

    async def run(self, http: httpx.AsyncClient, body: dict[str, Any], questions: Sequence[str], first: int) -> None:
        """Ask until it is cancelled; every second question as a stream."""
        asked = first
        while True:
            try:
                await self.ask(http, body, questions[asked % len(questions)], asked % 2 == 0)
            except httpx.HTTPError as error:
                self.errors.append(str(error) or repr(error))
                await asyncio.sleep(AFTER_ERROR_SECONDS)  # a server that is gone is not asked without end
            asked += 1


async def measure(
    url: str,
    body: dict[str, Any],
    keys: Sequence[str],
    questions: Sequence[str],
    seconds: float,
    memory: Callable[[], int],
    cpu_seconds: Callable[[], float],
) -> dict[str, Any]:
    """
    Let all clients ask for some time. What has not been answered then is given up, and counts for nothing.

    Args:
        url (`str`)
        body (`dict`): Of each request, without its question.
        keys (`Sequence[str]`): One client for each.
        questions (`Sequence[str]`)
        seconds (`float`)
        memory (`Callable`): Resident bytes of the server.
        cpu_seconds (`Callable`): Of the server so far.
    """
    clients = [Client(key) for key in keys]
    sizes: list[tuple[float, int]] = []
    warm: list[float] = []  # when answers begin to count, and the server's processor seconds until then
    begin = time.perf_counter()

    async def watch() -> None:
        report = REPORT_SECONDS
        while True:
            passed = time.perf_counter() - begin
            sizes.append((passed, memory()))
            if not warm and passed >= WARM_UP * seconds:
                warm[:] = time.perf_counter(), cpu_seconds()
            if passed >= report:
                report += REPORT_SECONDS
                answers, errors = (sum(len(getattr(c, name)) for c in clients) for name in ("answers", "errors"))
                megabytes = sizes[-1][1] / 1e6
                line = f"{passed:5.0f} of {seconds:.0f} s: {answers} answers, {errors} errors, {megabytes:.0f} MB"
                print(line, file=sys.stderr)
            await asyncio.sleep(1)

    async with httpx.AsyncClient(base_url=url, timeout=seconds + 60, limits=httpx.Limits(), trust_env=False) as http:
        tasks = [asyncio.create_task(client.run(http, body, questions, n)) for n, client in enumerate(clients)]
        tasks.append(asyncio.create_task(watch()))
        try:
            finished, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            end, cpu = time.perf_counter(), cpu_seconds()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    for task in finished:
        task.result()  # raises what ended it
    return {
        "wall_seconds": end - begin,
        "counted_seconds": end - warm[0],
        "counted_cpu_seconds": cpu - warm[1],
        "counted_questions": sum(warm[0] < ended <= end for client in clients for ended in client.ends),
        **summary(clients, [size for passed, size in sizes if passed > WARM_UP * seconds]),
    }


def summary(clients: Sequence[Client], sizes: Sequence[int]) -> dict[str, Any]:
    """
    What the clients have seen together.

    Args:
        clients (`Sequence[Client]`)
        sizes (`Sequence[int]`): Bytes of the server, over time and after warm-up.

    Raises:
        `ValueError`: If no question was answered.
    """
    seconds = [value for client in clients for value in client.seconds]
    counts = [len(client.seconds) for client in clients]
    errors = sorted({error for client in clients for error in client.errors})
    if not seconds:
        raise ValueError(f"no question was answered (errors: {errors[:3]}): give the server more --seconds")
    # While a client waits for its first answer, the queue is still filling: it counts where there is no other.
    medians = [statistics.median(client.seconds[1:] or client.seconds) for client in clients if client.seconds]
    first = sorted(value for client in clients for value in client.first_token)
    third = max(len(sizes) // 3, 1)
    return {
        "questions": len(seconds),
        "answers_of_a_client": [min(counts), max(counts)],
        "clients_without_an_answer": sum(not client.seconds for client in clients),
        "errors": errors,
        "answers": [pair for client in clients for pair in client.answers],
        "slowest_median_over_fastest": max(medians) / min(medians),
        "seconds_p50": statistics.median(seconds),
        "first_token_p50": first[len(first) // 2] if first else None,
        "first_token_p95": first[int(len(first) * 0.95)] if first else None,
        "memory_mb": [round(size / 1e6) for size in sizes[:: max(len(sizes) // 20, 1)]],
        "memory_last_third_over_first_after_warm_up": (
            statistics.median(sizes[-third:]) / statistics.median(sizes[:third]) if sizes else None
        ),
    }
