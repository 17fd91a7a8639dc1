"""The options of `onegen-hf evaluate --task entity-linking`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import ClassVar

from data_builders.entity_linking.kinds import KIND_CHOICES

from ..checks import checked_fields, choice, flag, list_of, number, optional, text
from .rules import threshold


@dataclass
class LinkingArguments:
    """Options of `onegen-hf evaluate --task entity-linking`, in addition to [`EvaluateArguments`]."""

    group: ClassVar[str] = "only for --task entity-linking"
    renamed: ClassVar[dict[str, str]] = {"threshold": "nil_threshold"}

    mode: str = field(
        default="full",
        metadata={
            "help": "given disambiguates the gold mentions; detection scores spans alone.",
            "choices": ["full", "given", "detection"],
        },
    )
    in_domain: list[str] = field(
        default_factory=list,
        metadata={"help": "Names of the data sets in the domain of the training data, to average them apart."},
    )
    nil_threshold: float | None = field(
        default=None, metadata={"help": "A mention whose best score is lower is NIL; default: the checkpoint's."}
    )
    fit_threshold: bool = field(
        default=False, metadata={"help": "Fit the NIL threshold on this data and write it into the checkpoint."}
    )
    fit_opening_bias: bool = field(
        default=False,
        metadata={
            "help": "Fit the bias on opening a mention on this data, with the threshold, and write both into the "
            "checkpoint."
        },
    )
    aliases: str | None = field(default=None, metadata={"help": "Alias table (.json or .parquet)."})
    prior_weight: float = field(default=0.0, metadata={"help": "Weight of the priors of the alias table."})
    fit_prior_weight: bool = field(default=False, metadata={"help": "Fit the weight on this data and report it."})
    coreferences: bool = field(default=True, metadata={"help": "Count labels of pronouns and other coreferences."})
    decoding: str = field(
        default="constrained",
        metadata={
            "help": "constrained copies the text; free lets the model write it anew, as in the paper.",
            "choices": ["constrained", "free"],
        },
    )
    boundaries: str = field(
        default="word",
        metadata={
            "help": "Where mentions may begin and end; character finds them inside words too.",
            "choices": ["word", "character"],
        },
    )

    kinds: list[str] = field(
        default_factory=list,
        metadata={
            "help": "What counts as a mention: names (or of these persons, places, organizations, others), demonyms, "
            "nouns, coreferences, dates, or all; default: what the checkpoint's instruction asks for."
        },
    )
    opening_bias: float | None = field(
        default=None,
        metadata={"help": "Added to the logit of opening a mention, to find more; default: the checkpoint's."},
    )

    def __post_init__(self) -> None:
        checked_fields(
            self,
            mode=choice(["full", "given", "detection"]),
            in_domain=list_of(text(), empty=True),
            nil_threshold=optional(threshold()),
            fit_threshold=flag(),
            fit_opening_bias=flag(),
            aliases=optional(text()),
            prior_weight=number(least=0),
            fit_prior_weight=flag(),
            coreferences=flag(),
            decoding=choice(["constrained", "free"]),
            kinds=list_of(choice(KIND_CHOICES), empty=True),
            opening_bias=optional(number()),
            boundaries=choice(["word", "character"]),
        )
        if self.fit_opening_bias and (self.mode != "full" or self.decoding != "constrained"):
            raise ValueError(
                "fit_opening_bias is for mode='full' and decoding='constrained', where the model finds the mentions: "
                f"got mode={self.mode!r} and decoding={self.decoding!r}"
            )
        if self.fit_opening_bias and self.opening_bias is not None:
            raise ValueError(f"fit_opening_bias and opening_bias={self.opening_bias}: leave out one of both")

    def check_unused(self, task: str) -> None:
        """
        Raises:
            `ValueError`: If one of these options was given for another task.
        """
        defaults = LinkingArguments()
        used = [option.name for option in fields(self) if getattr(self, option.name) != getattr(defaults, option.name)]
        if used:
            raise ValueError(f"{', '.join(used)}: for task=entity-linking only, but task={task}")
