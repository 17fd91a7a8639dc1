"""The bodies of requests: OpenAI's fields, and those of one-pass retrieval beside them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..request import MOST_HOPS, MOST_PASSAGES, GenerationRequest
from .errors import ApiError

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "suffix": ("",),
}
"""Fields of OpenAI's API that are not supported, with the values that ask for nothing."""
IGNORED = frozenset({"user", "metadata", "store", "service_tier", "parallel_tool_calls", "safety_identifier"})
"""Fields that have no bearing on the answer."""


class TextPart(BaseModel):
    """A part of a message."""

    type: Literal["text"]
    text: str


class RetrievedText(BaseModel):
    """A passage in an earlier turn."""

    model_config = ConfigDict(extra="ignore")

    id: str = ""
    title: str = ""
    text: str


class RetrievalOfTurn(BaseModel):
    """A retrieval in an earlier turn."""

    model_config = ConfigDict(extra="ignore")

    query: str = ""
    position: Annotated[int, Field(ge=0)] | None = None
    passages: Annotated[list[RetrievedText], Field(max_length=MOST_PASSAGES)]


class ChatMessage(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore")  # clients send the assistant's turns back as they came

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = Field(description="May be null in a turn of the assistant.")
    retrievals: Annotated[list[RetrievalOfTurn], Field(max_length=MOST_HOPS)] | None = Field(
        None,
        description="What was retrieved in a turn of the assistant, as it came with that turn; by default what the "
        "server remembers of it.",
    )

    @model_validator(mode="after")
    def _has_content(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"the content of a message of the role {self.role!r} must be text")
        return self

    def plain(self) -> dict[str, Any]:
        """As the chat template takes it, with `retrievals` if it came with them."""
        content = self.content or ""
        message: dict[str, Any] = {
            "role": "system" if self.role == "developer" else self.role,
            "content": content if isinstance(content, str) else "".join(part.text for part in content),
        }
        if self.retrievals is not None:
            message["retrievals"] = [retrieval.model_dump() for retrieval in self.retrievals]
        return message


class StreamOptions(BaseModel):
    """What a stream contains."""

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationBody(BaseModel):
    """The settings that chats and completions share."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    model: str | None = Field(None, description="The name under which the server offers its model.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Generated tokens; retrieved passages do not count. 256 by default."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0, the default, is greedy decoding."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = Field(None, description="The same seed gives the same sampled answer.")
    stop: str | list[str] | None = Field(None, description="Up to four strings before which the answer ends.")
    k: Annotated[int, Field(ge=1, le=MOST_PASSAGES)] = Field(1, description="Passages per retrieval.")
    max_hops: Annotated[int, Field(ge=0, le=MOST_HOPS)] = Field(5, description="Retrievals per answer.")
    retrieval: Literal["adaptive", "always", "never"] = Field(
        "adaptive", description="Whether the model decides when to retrieve."
    )
    threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="With adaptive retrieval: retrieve where its probability exceeds this."
    )
    critique: bool | dict[str, Any] | None = Field(
        None,
        description="Write a candidate after each of the k passages and keep the one that the model's reflection "
        "tokens judge best. true, or settings: w_rel, w_sup, w_use, closed_set, depth, width, ignore_continue. A "
        "stream has its text at the end.",
    )
    filter: dict[str, Any] | None = Field(
        None, description='Which passages may be found, by their meta: {"lang": "en", "year": {"$gte": 2000}}.'
    )
    answer_threshold: float | None = Field(
        None,
        description="Withhold an answer if the best passage of one of its retrievals scores less; by default the "
        "model's own threshold, if it has one. -1 withholds nothing.",
    )
    timeout: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Seconds after which the answer is not needed any more."
    )

    def request(self, question: Any, client: str) -> GenerationRequest:
        """
        What the scheduler takes.

        Raises:
            [`ApiError`]: For a field that is unknown or not supported, or a value that is out of range.
        """
        self.refuse_others()
        try:
            return self._request(question, client)
        except (TypeError, ValueError) as error:
            raise ApiError(str(error)) from error

    def _request(self, question: Any, client: str) -> GenerationRequest:
        return GenerationRequest(
            question,
            max_new_tokens=self.new_tokens(),
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or (),
            k=self.k,
            max_hops=self.max_hops,
            retrieval=self.retrieval,
            threshold=self.threshold,
            critique=self.critique,
            filter=self.filter,
            answer_threshold=self.answer_threshold,
            timeout=self.timeout,
            client=client,
        )

    def new_tokens(self) -> int:
        """Most tokens to generate."""
        return self.max_tokens or 256

    def refuse_others(self) -> None:
        """Refuse by name what would change the answer and is not supported."""
        for name, value in (self.model_extra or {}).items():
            if value is None or name in IGNORED or value in NEUTRAL.get(name, ()):
                continue
            known = "is not supported" if name in NEUTRAL else "is unknown"
            raise ApiError(f"{name} {known}: leave it out", code="unsupported_parameter", param=name)


class ChatBody(GenerationBody):
    """Body of `/v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    def new_tokens(self) -> int:
        return self.max_completion_tokens or super().new_tokens()


class CompletionBody(GenerationBody):
    """Body of `/v1/completions`."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        description="A question; it is put into the prompt that the model was trained with."
    )

    def question(self) -> str:
        """The text that asks."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


class EmbeddingBody(BaseModel):
    """Body of `/v1/embeddings`."""

    model_config = ConfigDict(extra="forbid")

    input: str | list[str]
    model: str | None = None
    role: Literal["query", "passage"] = Field("passage", description="What the texts are: both are embedded unlike.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class RetrieveBody(BaseModel):
    """Body of `/v1/retrieve`."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str | list[ChatMessage], Field(min_length=1)]
    model: str | None = None
    k: Annotated[int, Field(ge=1, le=MOST_PASSAGES)] = 5
    max_tokens: Annotated[int, Field(ge=1)] = Field(256, description="Tokens that the model may write before it asks.")
    filter: dict[str, Any] | None = Field(None, description="Which passages may be found, by their meta.")


class LinkBody(BaseModel):
    """Body of `/v1/link`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    text: Annotated[str, Field(min_length=1)]
    spans: list[tuple[int, int]] | None = Field(None, description="Mentions to link; by default they are found.")
    model: str | None = None
    top_k: Annotated[int, Field(ge=1, le=MOST_PASSAGES)] = 5
    threshold: float | None = Field(None, description="Mentions whose best entity scores less are linked to none.")
