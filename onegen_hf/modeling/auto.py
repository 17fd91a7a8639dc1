"""`OneGenForCausalLM`: make, load and save the mixin's classes; checkpoints stay those of the backbone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import (
    AutoConfig,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import CONFIG_NAME

from ..bundled.checkpoints import builtin_path, is_builtin
from ..checks import check_folder, checked, instance, optional
from ..configuration import OneGenConfig
from ..files import write_text_atomically
from ..hub.layout import PACKAGE
from ..hub.names import hub_id
from ..hub.origin import Origin
from ..importing.renamed import renamed_arguments
from ..presets import unknown_tokens, with_preset
from ..tokens import RetrievalTokens
from .adapters import is_adapter, open_adapter
from .backbone_check import check_causal
from .custom_generate import with_whole_call
from .loading_options import (
    broken_config_explained,
    broken_weights_explained,
    check_json_files,
    checked_options,
    final_for_pipeline,
    model_source,
    with_fast_dtype,
)
from .mixin import OneGenMixin
from .projection import load_projection, saved_apart, set_projection, write_projection
from .publish import push_model
from .remote_code import without_shim, write_shim
from .token_rows import initialize_token_rows
from .tokenizers import HUB_OPTIONS, _tokenizer_if_any, _tokens_of_checkpoint

PREFIX = "OneGen"
_SOURCE = model_source()
UPLOAD_OPTIONS = ("commit_message", "commit_description", "private", "token", "revision", "create_pr", "tags")
"""Arguments of `save_pretrained` that are meant for `push_to_hub`."""


class OneGenForCausalLM(OneGenMixin):
    """
    A decoder that generates and retrieves (OneGen, arXiv 2409.05152).

    This class is never instantiated itself: its constructors return `OneGenLlamaForCausalLM`,
    `OneGenQwen3ForCausalLM`, ..., subclasses of both this class and the backbone's, for whichever decoder is loaded.
    A saved checkpoint keeps the backbone's `model_type`, weights' names and `architectures`, so
    `AutoModel.from_pretrained` opens it without this package.

    Example:

    ```python
    >>> model = OneGenForCausalLM.from_backbone("HuggingFaceTB/SmolLM2-135M-Instruct", tokenizer)
    >>> model.save_pretrained("my-onegen")
    >>> model = OneGenForCausalLM.from_pretrained("my-onegen")
    ```
    """

    @classmethod
    @checked(
        tokenizer=instance(PreTrainedTokenizerBase),
        onegen_config=optional(instance(OneGenConfig)),
    )
    def from_backbone(
        cls,
        backbone: str | os.PathLike[str] | PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        tokens: str | RetrievalTokens | OneGenConfig | None = None,
        onegen_config: OneGenConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """
        Start from a plain language model: add the retrieval tokens and give their rows a meaningful start.

        Args:
            backbone (`str`, path or `PreTrainedModel`): A checkpoint, or a loaded `XForCausalLM`, which is converted
                in place.
            tokenizer (`PreTrainedTokenizerBase`): Receives the tokens that it lacks.
            tokens (`RetrievalTokens`, *optional*, defaults to `RetrievalTokens.multi_hop()`): Or what else
                [`with_preset`] takes.
            onegen_config (`OneGenConfig`, *optional*): All settings; `tokens` overrides its tokens.
            kwargs: Passed to the backbone's `from_pretrained` (`dtype`, `device_map`, `attn_implementation`,
                `quantization_config`, ...).

        Returns:
            `OneGenForCausalLM`

        Raises:
            `TypeError`: If an argument is of another type.
            `ValueError`: If `backbone` is no causal language model, or `tokenizer` does not fit it.
        """
        if not isinstance(backbone, PreTrainedModel):
            _SOURCE("backbone", backbone)
        settings = onegen_config or OneGenConfig()
        if tokens is not None:
            settings = with_preset(settings, tokens)
        known = set(tokenizer.get_vocab())
        model = convert(backbone) if isinstance(backbone, PreTrainedModel) else _load_concrete(backbone, **kwargs)
        rows = model.get_input_embeddings().weight.shape[0]
        if len(known) > rows + len(settings.tokens.all):
            raise ValueError(
                f"the tokenizer has {len(known)} tokens and the backbone {rows} embedding rows: they do not belong "
                "together. Load the tokenizer of the same checkpoint."
            )
        settings.tokens.add_to(tokenizer)
        vocabulary = tokenizer.get_vocab()
        # Rows above the base vocabulary are untrained padding, unless the backbone is a OneGen checkpoint itself.
        before = OneGenConfig.of(model.config)
        trained = rows if before is not None and before.tokens.all == settings.tokens.all else tokenizer.vocab_size
        own = _tokens_of_checkpoint(model, tokenizer)
        new = [
            t
            for t in settings.tokens.all
            if t not in known or vocabulary[t] >= rows or (t not in own and vocabulary[t] >= trained)
        ]
        initialize_token_rows(model, tokenizer, settings.tokens, new)
        check_causal(model)
        model.origin = None  # another model than the backbone from now on
        return model.set_onegen_config(settings)

    @classmethod
    @renamed_arguments(tokens="preset")
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *args: Any,
        preset: str | RetrievalTokens | OneGenConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """
        Load a checkpoint: a full model, or a LoRA adapter (merged into its base).

        Args:
            pretrained_model_name_or_path (`str` or path): Directory, Hub repository, or `"builtin"` (the bundled
                checkpoint) or `"builtin-linker"`.
            preset (`str`, `RetrievalTokens` or `OneGenConfig`, *optional*): Settings for a checkpoint without an
                `onegen` section: for the models released with the paper `"multi-hop-paper"`, `"self-rag-paper"` or
                `"entity-linking-paper"` (see [`with_preset`]). Weights do not change.
            kwargs: As for `AutoModelForCausalLM.from_pretrained`. Weights as a pickle (`*.bin`) are read with
                `use_safetensors=False` only.

        Returns:
            `OneGenForCausalLM`: Of the class that belongs to the backbone.

        Raises:
            `OSError`: If there is no such checkpoint, or it has no weights as safetensors.
            `WeightsMissingError`: For a bundled checkpoint, if the weights of its base are not installed.
            `ValueError`: If the checkpoint has no `onegen` section and no `preset` is given, if the section cannot be
                read, or for a `dtype` that weights cannot have.
        """
        name = builtin_path(_SOURCE("pretrained_model_name_or_path", pretrained_model_name_or_path))
        with final_for_pipeline(kwargs):
            checked_options(kwargs)  # before anything is downloaded
            check_json_files(name)
        if is_builtin(name):
            kwargs = with_fast_dtype(kwargs)
        if issubclass(cls, PreTrainedModel):
            kwargs = checked_options(kwargs)
            with final_for_pipeline(kwargs), broken_weights_explained(name, kwargs):
                loaded = super().from_pretrained(name, *args, **kwargs)  # type: ignore[misc]
            known = hub_id(str(name))
            load_projection(_model_of(loaded), name, kwargs)
            _model_of(loaded).origin = Origin.of(known, _commit(known, kwargs), kwargs) if known else None
        elif is_adapter(name, **kwargs):
            loaded = open_adapter(OneGenForCausalLM, name, **kwargs)
        else:
            config = kwargs.pop("config", None) or _load_config(name, kwargs)
            # `pipeline()` passes `preset` to the pipeline only, which checks for itself.
            if preset is None and OneGenConfig.of(config) is None and "_from_pipeline" not in kwargs:
                backbone_class(config, name, **kwargs)  # an encoder has a worse fault
                raise ValueError(unknown_tokens(name, _tokenizer_if_any(name, kwargs)))
            loaded = _load_concrete(name, *args, config=config, **kwargs)
        if preset is not None:
            model = _model_of(loaded)
            model.set_onegen_config(with_preset(model.onegen_config, preset))
        return loaded

    def set_onegen_config(self, settings: OneGenConfig) -> Any:
        """Use `settings` from now on and write them into `self.config`; returns the model."""
        set_projection(self, settings.projection_dim)
        self.onegen_config = settings
        settings.attach_to(self.config)
        return self

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """
        Raises:
            `ValueError`: If `tokenizer` lacks the retrieval tokens, or has more tokens than the model has rows.
        """
        self.onegen_config.tokens.ids(tokenizer)
        rows = self.get_input_embeddings().weight.shape[0]  # type: ignore[attr-defined]
        highest = max(tokenizer.get_vocab().values())
        if highest >= rows:
            raise ValueError(
                f"the tokenizer has ids up to {highest} and the model {rows} embedding "
                "rows: load the tokenizer that was saved with the model, or use `OneGenForCausalLM.from_backbone`."
            )

    def generate(self, *args: Any, custom_generate: Any = None, **kwargs: Any) -> Any:
        """
        As `GenerationMixin.generate`. A `custom_generate` callable receives the streamer too and honours
        `stop_strings`; arguments that would not reach it are refused.
        """
        if callable(custom_generate):
            custom_generate, kwargs = with_whole_call(custom_generate, kwargs)
        return super().generate(*args, custom_generate=custom_generate, **kwargs)  # type: ignore[misc]

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Nothing to do: saving writes a module that imports this class, so its source is never copied."""

    # transformers asks a class's module whether it is one of its own, and reads that module's source. A joined class
    # lives in this package, so each of these questions goes to the backbone.

    @classmethod
    def is_custom_code(cls) -> bool:
        """Whether the backbone's code is not transformers' own, which initialises weights and buffers its own way."""
        return backbone_class_of(cls).is_custom_code()

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return backbone_class_of(cls)._can_set_attn_implementation()

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        return backbone_class_of(cls)._can_set_experts_implementation()

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        push_to_hub: bool = False,
        remote_code: bool = True,
        **kwargs: Any,
    ) -> None:
        """
        Save as a plain checkpoint of the backbone, with the `onegen` section in config.json.

        Args:
            save_directory (`str` or path)
            push_to_hub (`bool`, *optional*, defaults to `False`): Afterwards, to `repo_id` (by default the name of
                the directory).
            remote_code (`bool`, *optional*, defaults to `True`): Also write a module of two imports, with which
                `AutoModelForCausalLM` and `pipeline`, given `trust_remote_code=True`, find this package where it is
                installed but not imported. Without `trust_remote_code` it is ignored.
            kwargs: As for `PreTrainedModel.save_pretrained`.
        """
        check_folder("save_directory", save_directory)
        repo_id = kwargs.pop("repo_id", None)
        upload = {name: kwargs.pop(name) for name in UPLOAD_OPTIONS if name in kwargs}
        _register_conversions(type(self))  # FSDP2 renames the class of a model that is trained
        with saved_apart(self, kwargs) as projection:
            super().save_pretrained(save_directory, **kwargs)  # type: ignore[misc]
        if not kwargs.get("is_main_process", True):
            return
        write_projection(projection, save_directory)
        self.describe_as_backbone(Path(save_directory), remote_code)
        if push_to_hub:
            upload |= {name: kwargs[name] for name in ("max_shard_size",) if name in kwargs}
            self.push_to_hub(repo_id or Path(save_directory).name, **upload)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """
        Send the model to the Hub as one commit, with its card, which replaces one that is there.

        Args:
            repo_id (`str`): Such as `"organisation/name"`; created if it is missing.
            kwargs: As for [`~onegen_hf.hub.push_model`]: `tokenizer`, `private`, `token`, `revision`, ...

        Returns:
            `huggingface_hub.CommitInfo`
        """
        return push_model(self, repo_id, **kwargs)

    def describe_as_backbone(self, directory: Path, remote_code: bool) -> None:
        """Rewrite a saved config.json so that it names the backbone's class, and this one as remote code if wanted."""
        backbone = backbone_class_of(type(self))
        self.config.architectures = [backbone.__name__]
        path = directory / "config.json"
        if not path.is_file():
            return
        content = json.loads(path.read_text(encoding="utf-8"))
        content["architectures"] = [backbone.__name__]
        auto_map = without_shim(content.pop("auto_map", None))
        if remote_code and backbone.__module__.startswith("transformers.models."):
            auto_map |= write_shim(directory, onegen_class_for(backbone))
        if auto_map:
            content["auto_map"] = auto_map
        write_text_atomically(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def onegen_class_for(backbone: type[PreTrainedModel]) -> Any:
    """The class that joins [`OneGenForCausalLM`] and a backbone class; the same one for the same backbone."""
    if issubclass(backbone, OneGenForCausalLM):
        return backbone
    name = PREFIX + backbone.__name__
    existing = globals().get(name)
    if existing is not None and backbone in existing.__mro__:
        return existing
    # A direct base, or the Auto classes (trust_remote_code) would put another class of the same name over this one.
    bases = (OneGenForCausalLM, backbone, GenerationMixin)
    # Pickles and saved checkpoints find the class through the package's root, wherever this file is.
    made = type(name, bases, {"__module__": PACKAGE, "__doc__": OneGenForCausalLM.__doc__})
    _register_conversions(made)
    setattr(sys.modules[__name__], name, made)
    return made


def _register_conversions(joined: type) -> None:
    """Some checkpoints name their tensors otherwise than the model does; transformers looks that up by class name."""
    conversions = get_checkpoint_conversion_mapping(backbone_class_of(joined).__name__)
    if conversions is not None:
        register_checkpoint_conversion_mapping(joined.__name__, conversions, overwrite=True)


def backbone_class_of(joined: type) -> type[PreTrainedModel]:
    """The backbone class that [`onegen_class_for`] joined: the plain model of the same checkpoint."""
    # FSDP2 joins a class of its own, which is no model.
    return next(c for c in joined.__mro__ if issubclass(c, PreTrainedModel) and not issubclass(c, OneGenMixin))


def convert(model: PreTrainedModel) -> Any:
    """Turn a loaded `XForCausalLM` into its OneGen class, in place: same weights, same config."""
    if isinstance(model, OneGenForCausalLM):
        return model
    model.__class__ = onegen_class_for(type(model))
    OneGenMixin.attach(model)  # type: ignore[arg-type]
    return model


def load_adapter(
    name_or_path: str | os.PathLike[str], merge: bool = True, is_trainable: bool = False, **kwargs: Any
) -> Any:
    """
    Load a LoRA adapter that [`save_adapter`] wrote.

    Args:
        name_or_path (`str` or path): Directory or Hub repository.
        merge (`bool`, *optional*, defaults to `True`): Merge into the base and return a plain model; otherwise a
            `PeftModel`.
        is_trainable (`bool`, *optional*, defaults to `False`): Leave the adapter's weights trainable.
        kwargs: Where to look on the Hub (`revision`, `token`, `cache_dir`, ...; `revision` and `force_download` are
            the adapter's), and what goes to the base's `from_pretrained` (`dtype`, `device_map`, ...).

    Returns:
        [`OneGenForCausalLM`] or `PeftModel`

    Raises:
        `FileNotFoundError`: If config.json is missing.
        `ValueError`: If it has no `onegen` section.
    """
    return open_adapter(OneGenForCausalLM, name_or_path, merge, is_trainable, **kwargs)


def backbone_class(config: PreTrainedConfig, name_or_path: str | os.PathLike[str], **kwargs: Any) -> type:
    """
    The `XForCausalLM` of a config: transformers' own, or the checkpoint's remote code if that is trusted.

    Raises:
        `ValueError`: If there is none.
    """
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        found = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        return found[0] if isinstance(found, tuple) else found
    remote = (getattr(config, "auto_map", None) or {}).get("AutoModelForCausalLM")
    if remote and kwargs.get("trust_remote_code"):
        options = {key: kwargs[key] for key in ("revision", "cache_dir", "token") if key in kwargs}
        return get_class_from_dynamic_module(remote, str(name_or_path), **options)
    raise ValueError(
        f"{name_or_path}: model_type {config.model_type!r} has no causal language model in transformers. Choose a "
        "decoder, or pass trust_remote_code=True if you trust the checkpoint's own code."
    )


def _load_config(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> PreTrainedConfig:
    wanted = {key: options[key] for key in (*HUB_OPTIONS, "trust_remote_code", "gguf_file") if key in options}
    with broken_config_explained(name_or_path):
        return AutoConfig.from_pretrained(name_or_path, **wanted)


def _model_of(loaded: Any) -> Any:
    """What `from_pretrained` returned, without what `output_loading_info=True` adds."""
    return loaded[0] if isinstance(loaded, tuple) else loaded


def _commit(repo_id: str, options: dict[str, Any]) -> str | None:
    """Of which commit the files in the cache are that were loaded with these options."""
    revision: Any = options.get("revision")
    if hasattr(revision, "resolved"):  # by `pipeline` or an Auto class, once for all files
        return str(revision.resolved)
    name = "/".join(part for part in (options.get("subfolder"), CONFIG_NAME) if part)
    cached = try_to_load_from_cache(repo_id, name, cache_dir=options.get("cache_dir"), revision=revision)
    return Path(cached.removesuffix(name)).name if isinstance(cached, str) else None


def _load_concrete(name_or_path: str | os.PathLike[str], *args: Any, config: Any = None, **kwargs: Any) -> Any:
    config = config or _load_config(name_or_path, kwargs)
    backbone = backbone_class(config, name_or_path, **kwargs)
    kwargs.pop("trust_remote_code", None)
    return onegen_class_for(backbone).from_pretrained(name_or_path, *args, config=config, **kwargs)


def __getattr__(name: str) -> Any:
    """Make `OneGenXForCausalLM` over transformers' `XForCausalLM` when it is first asked for (also by pickle)."""
    if name.startswith(PREFIX) and name.endswith(("ForCausalLM", "LMHeadModel")):
        import transformers

        backbone = getattr(transformers, name.removeprefix(PREFIX), None)
        if backbone is not None:
            return onegen_class_for(backbone)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
