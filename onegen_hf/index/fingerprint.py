"""`ModelFingerprint`: tells whether an index and a model belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..configuration import RENAMED
from ..data.passages import Passage, PassageEncoder
from ..modeling.embed import check_encoder, embed_rows, evaluation_mode
from ..similarity import check_finite, normalize

SAME_MODEL_COSINE = 0.99
"""Least cosine between the probes of one model.

SmolLM2-135M in float32 against bfloat16 has 0.9997. Ten steps of training at a learning rate of 1e-4 bring the least
of the four to 0.75, ten steps at 1e-5 only to 0.9975.
"""
INT8_MODEL_COSINE = 0.97
"""The same where the other model is in int8: the bundled linker has 0.983 on a processor without VNNI."""

PROMPTS = (
    "Which river flows through the town where the novelist was born?",
    "The bridge was finished in 1931. Who designed it, and where did she study?",
)
PASSAGES = (
    Passage("probe-0", "Arnhold Bridge", "The bridge spans 214 metres and carries two lanes and a footpath."),
    Passage("probe-1", "Selma Hartwig", "Selma Hartwig (1902-1977) was an engineer. She studied in Delft."),
)


@dataclass(frozen=True, eq=False)
class ModelFingerprint:
    """
    What a model does with a few fixed texts, and the settings that shape its embeddings.

    It is behavioural on purpose. A hash of the weights would differ between float32 and bfloat16, between an adapter
    and its merged model, between shards and one file, though they all search the same index equally well; and a name
    stays the same when a checkpoint is trained further or overwritten, which makes an index useless. The embeddings
    of four probe texts (two queries, two passages) tell these cases apart: rounding leaves a cosine near 1, training
    moves the retrieval tokens first of all. Training of a few steps with a small learning rate can stay below the
    threshold, and then an index is still good.

    Args:
        facts (`Mapping[str, Any]`): Settings that must be equal.
        probes (`np.ndarray` of shape `(4, hidden)`, float32): Normalised embeddings of the probe texts.
    """

    facts: Mapping[str, Any]
    probes: np.ndarray

    @classmethod
    def of(cls, model: Any, tokenizer: PreTrainedTokenizerBase) -> ModelFingerprint:
        """
        Take the fingerprint: one small forward pass.

        Args:
            model (`OneGenForCausalLM`)
            tokenizer (`PreTrainedTokenizerBase`)

        Raises:
            `TypeError`: If `model` is no OneGen model.
            `ValueError`: If the tokenizer does not fit, or the model computes NaN.
        """
        check_encoder(model, tokenizer)
        settings = model.onegen_config
        encoder = PassageEncoder(tokenizer, settings)
        passages = [encoder.row(passage) for passage in PASSAGES]
        rows = [[*encoder.prefix, *encoder.text_ids(prompt), encoder.ids.query] for prompt in PROMPTS]
        rows += [passage.input_ids for passage in passages]
        # Only the last document token: how many there are depends on the granularity.
        positions = [[len(row) - 1] for row in rows]
        with evaluation_mode(model), torch.inference_mode():
            embeddings = embed_rows(model, rows, positions, tokenizer.pad_token_id)
            check_finite(embeddings, "fingerprint of the model")
            probes = normalize(embeddings).cpu().numpy()
        facts = {
            "model_type": model.config.model_type,
            "hidden_size": int(probes.shape[1]),
            "query_token": settings.tokens.query,
            "document_token": settings.tokens.document,
            "similarity": settings.similarity,
            "granularity": settings.granularity,
            "passage_template": settings.passage_template,
            # Not max_inserted_tokens: it says how much is inserted, and may change without a new index.
            "max_embedded_tokens": encoder.max_embedded,
        }
        return cls(facts, probes)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable form; the probes are rounded to six decimals."""
        return {"facts": dict(self.facts), "probes": [[round(float(x), 6) for x in row] for row in self.probes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelFingerprint:
        """
        Inverse of [`~ModelFingerprint.to_dict`].

        Raises:
            `ValueError`: If a part is missing or has no sensible form.
        """
        try:
            facts = {RENAMED.get(name, name): fact for name, fact in values["facts"].items()}
            probes = np.asarray(values["probes"], dtype=np.float32)
            if not np.isfinite(probes).all():
                raise ValueError("its probes hold NaN or infinite values")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"fingerprint is damaged ({error!r}): build the index again") from error
        if probes.ndim != 2:
            raise ValueError(f"fingerprint has probes of shape {probes.shape}: build the index again")
        return cls(facts, probes)

    def difference(self, other: ModelFingerprint, least_cosine: float = SAME_MODEL_COSINE) -> str | None:
        """
        The first difference that shows two different models.

        Args:
            other (`ModelFingerprint`)
            least_cosine (`float`, *optional*, defaults to 0.99): Between the probes of one model.

        Returns:
            `str`, *optional*: `None` for the same model: equal facts, and at least this cosine for every probe.
        """
        differing = [
            f"{name} {self.facts.get(name)!r} against {other.facts.get(name)!r}"
            for name in sorted({*self.facts, *other.facts})
            if self.facts.get(name) != other.facts.get(name)
        ]
        if differing:
            return ", ".join(differing)
        if self.probes.shape != other.probes.shape:
            return f"probe embeddings of shape {self.probes.shape} against {other.probes.shape}"
        cosine = float((self.probes * other.probes).sum(axis=1).min())
        if not cosine >= least_cosine:
            return f"other weights (cosine {cosine:.3f} between their embeddings of one text, below {least_cosine})"
        return None
