"""The options of `onegen-hf index`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from ..checks import checked_fields, choice, flag, integer, optional, path, text
from ..configuration import OneGenConfig
from .model_arguments import ModelArguments
from .rules import check_store_url

PRECISIONS = ["float32", "float16", "int8", "binary"]


@dataclass(kw_only=True)
class IndexArguments(ModelArguments):
    """Options of `onegen-hf index`."""

    group: ClassVar[str] = "index"
    renamed: ClassVar[dict[str, str]] = {**ModelArguments.renamed, "corpus": "passages"}

    passages: str = field(
        metadata={
            "help": "A folder of texts (.txt, .md) or of records (.jsonl, .csv, .parquet, ...), one such file, or a "
            "dataset repository with the config `documents`."
        }
    )
    output_dir: str = field(
        metadata={
            "help": "Directory of the index, where the same command continues an interrupted run; or the URL of a "
            "database, such as qdrant://localhost:6333/films; or, with --shards, a dataset repository of the Hub, "
            "hf://datasets/organisation/films, where machines that share no folder meet."
        }
    )
    split: str = field(default="train", metadata={"help": "Split of the dataset repository."})
    factory: str = field(default="Flat", metadata={"help": "FAISS factory string: Flat, HNSW32, IVF4096,PQ64np, ..."})
    backend: str = field(
        default="faiss",
        metadata={
            "help": "torch is exact, and searches on the device of the model.",
            "choices": ["faiss", "torch"],
        },
    )
    dimensions: int | None = field(
        default=None,
        metadata={"help": "Keep the first N numbers of each embedding, for models trained with matryoshka_dims."},
    )
    precision: str = field(
        default="float32",
        metadata={"help": "Of the numbers that are kept.", "choices": PRECISIONS},
    )
    batch_size: int | None = field(
        default=None, metadata={"help": "Passages per batch; default: 32, on a GPU as many as it has room for."}
    )
    max_tokens_per_passage: int | None = field(
        default=None,
        metadata={
            "help": "Split longer passages at the ends of sentences, into pieces with the ids ID#0, ID#1, ...; "
            "default: those that are longer than what the model embeds, see --long-passages."
        },
    )
    long_passages: str = field(
        default="auto",
        metadata={
            "help": "What happens to passages that the model can't embed whole: split or cut. auto splits those of "
            "files, and cuts those of a dataset, whose examples refer to passages by their ids.",
            "choices": ["auto", "split", "cut"],
        },
    )

    shards: str | None = field(
        default=None,
        metadata={
            "help": "Folder in which the corpus is encoded shard by shard, with the memory of one. Run the same "
            "command several times, or on several machines that share the folder (or the repository that "
            "--output-dir names), and they split the work."
        },
    )
    shard_size: int = field(default=10_000, metadata={"help": "With --shards: passages per shard."})
    shard_precision: str = field(
        default="float32",
        metadata={"help": "With --shards: of the numbers in the shards.", "choices": ["float32", "float16"]},
    )
    deduplicate: bool = field(
        default=False, metadata={"help": "With --shards: leave out passages with the text of an earlier one."}
    )
    runner: str = field(
        default="local",
        metadata={"help": "With --shards: ray starts workers on a Ray cluster.", "choices": ["local", "ray"]},
    )
    workers: int = field(default=1, metadata={"help": "With --runner ray: number of workers."})
    num_machines: int = field(
        default=1, metadata={"help": "With an --output-dir on the Hub: number of machines that share the work."}
    )
    machine_rank: int = field(
        default=0,
        metadata={
            "help": "With an --output-dir on the Hub: which of the machines this is, from 0; one that takes the place "
            "of another has its rank."
        },
    )
    private: bool = field(
        default=False,
        metadata={
            "help": "With an --output-dir on the Hub: make a new repository private; default: the organization's "
            "setting."
        },
    )
    update: bool = field(
        default=False,
        metadata={"help": "Bring an index up to date: only passages whose text has changed are encoded."},
    )
    remove_missing: bool = field(
        default=False,
        metadata={"help": "With --update and without --shards: remove passages that are not among --passages."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_fields(
            self,
            passages=text(),
            output_dir=path(),
            split=text(),
            factory=text(),
            backend=choice(["faiss", "torch"]),
            dimensions=optional(integer(least=1)),
            precision=choice(PRECISIONS),
            batch_size=optional(integer(least=1)),
            max_tokens_per_passage=optional(integer(least=1)),
            long_passages=choice(["auto", "split", "cut"]),
            shards=optional(path()),
            shard_size=integer(least=1),
            shard_precision=choice(["float32", "float16"]),
            deduplicate=flag(),
            runner=choice(["local", "ray"]),
            workers=integer(least=1),
            num_machines=integer(least=1),
            machine_rank=integer(least=0),
            private=flag(),
            update=flag(),
            remove_missing=flag(),
        )
        self._require_company()
        if self.max_tokens_per_passage is not None and self.long_passages == "cut":
            raise ValueError(
                f"max_tokens_per_passage={self.max_tokens_per_passage} splits long passages, and long_passages='cut' "
                "cuts them: leave one of them out"
            )
        for name, default in (("factory", "Flat"), ("precision", "float32")):
            if self.backend != "faiss" and (value := getattr(self, name)) != default:
                raise ValueError(f"{name}={value!r} is for backend='faiss', not for {self.backend!r}: leave it out")

    def piece_tokens(self, settings: OneGenConfig) -> int | None:
        """
        Most tokens of a piece where long passages are split; `None` where they are cut.

        Args:
            settings ([`OneGenConfig`]): Of the model.
        """
        if self.max_tokens_per_passage is not None:
            return self.max_tokens_per_passage
        from ..data.plain_files import is_plain

        # A reference to a sentence, DOC#3, would be one to a piece.
        by_default = is_plain(self.passages) and settings.granularity == "passage"
        if self.long_passages == "cut" or (self.long_passages == "auto" and not by_default):
            return None
        return settings.embedded_tokens

    @property
    def in_database(self) -> bool:
        """Whether `output_dir` is the URL of a database."""
        return "://" in self.output_dir and not self.on_hub

    @property
    def on_hub(self) -> bool:
        """Whether `output_dir` is a repository of the Hub, for shards and the index in files."""
        return self.output_dir.startswith("hf://") and not self.output_dir.endswith(".lance")

    def _require_company(self) -> None:
        """Refuse options that would have no effect without another one."""
        defaults = {option.name: option.default for option in fields(self)}
        for name in ("shards", "update"):
            if self.in_database and (value := getattr(self, name)):
                raise ValueError(
                    f"{name}={value!r} is for an index in files, and output_dir is a database: leave it out"
                )
        if self.in_database:
            check_store_url("output_dir", self.output_dir)
        self._require_hub(defaults)
        for name in ("shard_size", "shard_precision", "deduplicate", "runner"):
            if self.shards is None and (value := getattr(self, name)) != defaults[name]:
                raise ValueError(f"{name}={value!r} is for encoding in shards: add --shards FOLDER, or leave it out")
        if self.workers != 1 and self.runner != "ray":
            raise ValueError(
                f"workers={self.workers} is for --runner ray. Without Ray, run the same command several times, or "
                "`accelerate launch -m onegen_hf.index`"
            )
        if self.remove_missing and (not self.update or self.shards is not None):
            raise ValueError(
                "remove_missing=True is for --update without --shards: an index of shards always has the passages of "
                "the corpus and no other ones"
            )

    def _require_hub(self, defaults: dict[str, Any]) -> None:
        """Refuse options that do not go together with an `output_dir` on the Hub, or without one."""
        if not self.on_hub:
            for name in ("num_machines", "machine_rank", "private"):
                if (value := getattr(self, name)) != defaults[name]:
                    raise ValueError(
                        f"{name}={value!r} is for an --output-dir on the Hub, such as "
                        "hf://datasets/organisation/films: leave it out"
                    )
            return
        if self.shards is None:
            raise ValueError(
                f"output_dir={self.output_dir!r} is a repository of the Hub: add --shards FOLDER, where this machine "
                "encodes; or build the index in a folder, and send it with `onegen-hf push index`"
            )
        for name in ("update", "runner"):
            if (value := getattr(self, name)) != defaults[name]:
                raise ValueError(
                    f"{name}={value!r} is for shards in a shared folder, and output_dir={self.output_dir!r} is a "
                    "repository of the Hub: leave it out"
                )
        if self.machine_rank >= self.num_machines:
            raise ValueError(
                f"machine_rank={self.machine_rank} must be below num_machines={self.num_machines}: count from 0"
            )
