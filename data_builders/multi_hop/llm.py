"""Decompositions written by a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from data_builders.multi_hop.fields import match_title
from data_builders.multi_hop.response_cache import ResponseCache
from data_builders.rendering import PARAGRAPH_END, PARAGRAPH_START, Hop

INSTRUCTIONS = (
    "Split the question into the sub-questions that have to be answered one after the other, each by exactly one of "
    "the passages. A sub-question names what it asks about: write an earlier answer out instead of referring to it. "
    'Use every passage. Reply with a JSON list only: [{"sub_question": "...", "answer": "...", "title": "..."}], '
    "where `answer` is a short span of the passage and `title` is the title of that passage."
)
_RETRIED = (408, 409, 429, 500, 502, 503, 504)
# The endpoint is fine, but not with this question: too long, or filtered.
_REFUSED = (400, 413, 422)
_MAX_HOPS = 8


class Question(NamedTuple):
    """The prompt of the model: the question, its answer, and the supporting passages as titles and texts."""

    id: str
    question: str
    answer: str
    passages: tuple[tuple[str, str], ...]


class LlmDecomposer:
    """
    Asks a model for decompositions and keeps its replies on disk, one JSON line per question.

    A run that was interrupted goes on where it stopped. Failed requests are repeated with growing pauses; what the
    endpoint asks for in `Retry-After` is kept to.

    Args:
        url (`str`):
            Base of the endpoint, such as `http://localhost:8000/v1`.
        model (`str`):
            As the endpoint calls it.
        cache (`str`):
            The file of replies; made if needed.
        api_key_env (`str`, *optional*, defaults to `"OPENAI_API_KEY"`):
            The environment variable that holds the key, if the endpoint wants one. The key is sent, and nothing else
            is done with it.
        workers (`int`, *optional*, defaults to 8):
            How many requests are under way at a time.
        retries (`int`, *optional*, defaults to 6):
            How often a failed request is repeated.
        backoff (`float`, *optional*, defaults to 1.0):
            The first pause in seconds; each is twice the one before.
        timeout (`float`, *optional*, defaults to 120.0):
            Seconds to wait for a reply.
    """

    def __init__(
        self,
        url: str,
        model: str,
        cache: str,
        *,
        api_key_env: str = "OPENAI_API_KEY",
        workers: int = 8,
        retries: int = 6,
        backoff: float = 1.0,
        timeout: float = 120.0,
    ) -> None:
        base = url.rstrip("/").removesuffix("/chat/completions")
        self.url = (base if base.endswith("/v1") else f"{base}/v1") + "/chat/completions"
        self.model, self.workers, self.timeout = model, workers, timeout
        self._key_name, self._key = api_key_env, os.environ.get(api_key_env, "")
        self._cache = ResponseCache(cache)
        self._session = requests.Session()
        retry = Retry(
            total=retries, backoff_factor=backoff, status_forcelist=_RETRIED, allowed_methods=None,
            raise_on_status=False,
        )  # fmt: skip
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=workers, max_retries=retry))

    def prepare(self, questions: Iterable[Question]) -> None:
        """
        Ask for many questions at a time, so that [`~LlmDecomposer.hops`] finds the replies on disk.

        Raises:
            `ConnectionError`: If the endpoint can't be reached or refuses to work; what was answered is kept.
        """
        questions = iter(questions)
        with ThreadPoolExecutor(self.workers) as pool:
            # Batches bound what is in memory, and stop early when the endpoint is down.
            while batch := list(islice(questions, 16 * self.workers)):
                list(pool.map(self._reply, batch))

    def hops(self, question: Question) -> list[Hop] | None:
        """
        Give the decomposition of a question.

        Args:
            question (`Question`):
                The question.

        Returns:
            `list[Hop] | None`: The hops, or `None` if the reply is no valid decomposition.

        Raises:
            `ConnectionError`: If the endpoint can't be reached or refuses to work.
        """
        reply = self._reply(question)
        return None if reply is None else parse_reply(reply, [title for title, _ in question.passages])

    def _reply(self, question: Question) -> str | None:
        passages = "\n\n".join(f"Title: {title}\n{text}" for title, text in question.passages)
        prompt = f"Question: {question.question}\nAnswer: {question.answer}\n\nPassages:\n\n{passages}"
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": prompt}]
        body = {"model": self.model, "messages": messages, "temperature": 0}
        key = hashlib.sha256(orjson.dumps(body)).hexdigest()
        if key not in self._cache:
            reply = self._post(body)
            self._cache.put(key, {"id": question.id, "model": self.model, "reply": reply})
        cached: str | None = self._cache.get(key)["reply"]
        return cached

    def _post(self, body: Mapping[str, Any]) -> str | None:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            response = self._session.post(self.url, json=body, headers=headers, timeout=self.timeout)
        except requests.RequestException as error:
            raise ConnectionError(
                f"{self.url} can't be reached ({type(error).__name__}); check `llm_url`. Replies so far are kept, "
                "so the same command goes on from here."
            ) from error
        if response.status_code in _REFUSED:
            return None
        if not response.ok:
            raise ConnectionError(
                f"{self.url} answered {response.status_code} {response.reason}; check `llm_model` and the key in the "
                f"environment variable {self._key_name}. Replies so far are kept."
            )
        try:
            content = orjson.loads(response.content)["choices"][0]["message"]["content"]
        except (orjson.JSONDecodeError, LookupError, TypeError):
            return None
        return content if isinstance(content, str) else None


def parse_reply(reply: str, titles: Sequence[str]) -> list[Hop] | None:
    """
    Read a decomposition out of a model's reply, which may have thoughts or a fence around the list.

    Args:
        reply (`str`):
            The reply.
        titles (`Sequence[str]`):
            The titles that the hops may and must name.

    Returns:
        `list[Hop] | None`: The hops, or `None` if the reply holds no list, or one that is malformed, names another
        title or leaves one out.
    """
    match = re.search(r"\[\s*\{.*\}\s*\]", reply, re.DOTALL)
    try:
        steps = orjson.loads(match[0]) if match else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(steps, list) or not 1 <= len(steps) <= _MAX_HOPS:
        return None
    hops = []
    for step in steps:
        fields = [step.get(name) for name in ("sub_question", "answer", "title")] if isinstance(step, dict) else []
        texts = [" ".join(text.split()) for text in fields if isinstance(text, str) and text.strip()]
        if len(texts) != 3:
            return None
        if any(mark in text for mark in (PARAGRAPH_START, PARAGRAPH_END) for text in texts):
            return None
        title = match_title(texts[2], titles)
        if title is None:
            return None
        hops.append(Hop(texts[0], texts[1], title))
    return hops if {hop.title for hop in hops} == set(titles) else None
