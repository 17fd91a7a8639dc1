"""`CorpusBuilder`: the two configs as a `datasets` builder, for any converter."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import Any

import datasets

from data_builders.engine import Engine
from data_builders.features import DOCUMENTS_FEATURES, EXAMPLES_FEATURES
from data_builders.registry import converter_class
from data_builders.report import SplitReport
from data_builders.sources import Sources, as_list

logger = logging.getLogger(__name__)


@dataclass
class CorpusConfig(datasets.BuilderConfig):
    """
    Options of [`CorpusBuilder`].

    Args:
        converter (`str`, *optional*, defaults to `"multi-hop"`):
            A key of [`CONVERTERS`].
        examples (`Mapping[str, Sources]`):
            The sources of each split: files, folders, datasets on the Hub.
        documents (`Sources`, *optional*):
            The sources of passages that the rows don't carry themselves.
        options (`Mapping[str, Any]`, *optional*):
            Fields of the converter.
        on_error (`str`, *optional*, defaults to `"raise"`):
            `"raise"` or `"skip"`.
        limit (`int`, *optional*):
            Read at most this many rows of each split.
    """

    converter: str = "multi-hop"
    examples: Mapping[str, Sources] = field(default_factory=dict)
    documents: Sources = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    on_error: str = "raise"
    limit: int | None = None

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """Name the cache folder; a file that changed must not find the old one."""
        sources = [*as_list(self.documents), *(s for split in self.examples.values() for s in as_list(split))]
        options = [value for value in self.options.values() if isinstance(value, str)]
        states = {fspath(path): _state(Path(path)) for path in (*sources, *options)}
        return str(super().create_config_id({**config_kwargs, "states": states}, custom_features=custom_features))


class CorpusBuilder(datasets.GeneratorBasedBuilder):
    """
    The builder for `datasets`: configs `documents` and `examples`, cached and out of memory.

    Examples:

    ```python
    builder = CorpusBuilder(config_name="examples", converter="multi-hop", examples={"train": "train.jsonl"})
    builder.download_and_prepare()
    examples = builder.as_dataset(split="train")
    ```
    """

    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = CorpusConfig
    BUILDER_CONFIGS = [
        CorpusConfig(name="documents", version=VERSION, description="passages: id, title, sentences"),
        CorpusConfig(name="examples", version=VERSION, description="conversations with retrieval tokens"),
    ]
    config: CorpusConfig

    def _info(self) -> datasets.DatasetInfo:
        features = DOCUMENTS_FEATURES if self.config.name == "documents" else EXAMPLES_FEATURES
        return datasets.DatasetInfo(features=features, description=self.config.description)

    def _split_generators(self, dl_manager: datasets.DownloadManager) -> list[datasets.SplitGenerator]:
        downloads = Path(dl_manager.download_config.cache_dir or self._cache_dir_root) / "onegen_sources"
        engine = Engine(
            converter_class(self.config.converter)(**self.config.options),
            self.config.examples,
            self.config.documents,
            downloads / self.config.name,
            self.config.on_error,
            self.config.limit,
        )
        engine.collect_documents()
        splits = ["train"] if self.config.name == "documents" else list(self.config.examples)
        return [datasets.SplitGenerator(name=name, gen_kwargs={"engine": engine, "split": name}) for name in splits]

    def _generate_examples(self, engine: Engine, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        if self.config.name == "documents":
            yield from enumerate(document.as_record() for document in engine.store)
            return
        report = SplitReport()
        yield from enumerate(engine.iterate_examples(split, report))
        if report.dropped:
            logger.warning("%s: rows left out by reason: %s", split, dict(report.dropped))


def _state(path: Path) -> Sequence[tuple[str, int, int]]:
    """Names, sizes and times of the files of a source; nothing for a dataset on the Hub."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    states = [(file.name, file.stat()) for file in files]
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]
