"""`ReflectionIds`: the vocabulary ids of Self-RAG's reflection tokens, by what they judge."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from ..tokens import REFLECTION_TOKENS, RetrievalTokens


@dataclass(frozen=True)
class ReflectionIds:
    """
    Self-RAG's reflection tokens (arXiv 2310.11511, table 1) in one tokenizer.

    Attributes:
        retrieve, no_retrieve, continue_evidence (`int`): The answers to "is a retrieval needed here?".
        relevance (`tuple[int, int]`): `[Relevant]`, `[Irrelevant]`.
        support (`tuple[int, int, int]`): `[Fully supported]`, `[Partially supported]`, `[No support / Contradictory]`.
        utility (`tuple[int, ...]`): `[Utility:1]` to `[Utility:5]`.
    """

    retrieve: int
    no_retrieve: int
    continue_evidence: int
    relevance: tuple[int, int]
    support: tuple[int, int, int]
    utility: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, tokens: RetrievalTokens, tokenizer: PreTrainedTokenizerBase) -> ReflectionIds | None:
        """
        Look the reflection tokens up.

        Args:
            tokens ([`RetrievalTokens`]): Those of the checkpoint.
            tokenizer (`PreTrainedTokenizerBase`)

        Returns:
            [`ReflectionIds`], or `None` if the checkpoint has none: `tokens.generation` lacks one of them.

        Raises:
            `ValueError`: If `tokenizer` lacks them.
        """
        if not set(REFLECTION_TOKENS) <= set(tokens.generation):
            return None
        tokens.ids(tokenizer)  # refuses a tokenizer that lacks some of them
        ids = tokens.known_ids(tokenizer)
        return cls(
            retrieve=ids["[Retrieval]"],
            no_retrieve=ids["[No Retrieval]"],
            continue_evidence=ids["[Continue to Use Evidence]"],
            relevance=(ids["[Relevant]"], ids["[Irrelevant]"]),
            support=(ids["[Fully supported]"], ids["[Partially supported]"], ids["[No support / Contradictory]"]),
            utility=(
                ids["[Utility:1]"], ids["[Utility:2]"], ids["[Utility:3]"], ids["[Utility:4]"], ids["[Utility:5]"],
            ),
        )  # fmt: skip
