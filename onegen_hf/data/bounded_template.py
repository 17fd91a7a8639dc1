"""
`BoundedTemplate`: tries out a chat template whose values cannot outgrow a limit.

A single call into C, such as the product of a text and a large number or a format with a huge width, can take all
memory before anything can interrupt it. So each operation through which a value of a Jinja template can grow is
checked before it runs: operators, calls, filters, concatenation, and the output.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from transformers.utils.chat_template_utils import _compile_jinja_template

MOST_REPEATED = 500_000_000
"""The longest text that two arguments may make together, as in `replace`, `indent` or a product."""
_FORMATTING = frozenset({"format", "format_map", "strftime_now", "do_format"})
_NUMBER = re.compile(r"\d+")


class TooLargeError(BaseException):
    """A value of a template would outgrow its limit. Jinja swallows any `Exception` while it compiles constants."""


class BoundedTemplate:
    """
    A chat template for a trial.

    Args:
        source (`str`): Jinja.

        limit (`int`): The most characters of a value, of all that is written, and of the constants together.

    Raises:
        `TemplateError`: If it is malformed.
        [`TooLargeError`]: If an expression of constants is too large, which is computed even where it never runs.
    """

    def __init__(self, source: str, limit: int) -> None:
        environment = _Environment(limit)
        environment.counted(source)
        self.template = environment.from_string(source)
        environment.running = True

    def check(self, **variables: Any) -> None:
        """
        Render the template.

        Args:
            variables: What the template reads: `messages`, the names of special tokens, ...

        Raises:
            [`TooLargeError`]: If a value outgrows the limit.
        """
        self.template.render(**variables)


class _Generator(CodeGenerator):
    """Sends the operator `~` through the environment."""

    def visit_Concat(self, node: Any, frame: Any) -> None:
        self.write("environment.concat((")
        for part in node.nodes:
            self.write("environment.text(")
            self.visit(part, frame)
            self.write("), ")
        self.write("))")


class _Folding(NodeTransformer):
    """Computes operators on constants, as Jinja's compiler does, but within the limits."""

    def __init__(self, environment: _Environment) -> None:
        self.environment = environment

    def visit_operator(self, node: Any) -> nodes.Node:
        node = self.generic_visit(node)
        try:
            left, right = node.left.as_const(), node.right.as_const()
            value = self.environment.call_binop(None, node.operator, left, right)  # type: ignore[arg-type]
            return nodes.Const.from_untrusted(self.environment.counted(value))
        except Exception:  # not constant, or an error that belongs to the run
            return node

    visit_Add = visit_Mul = visit_Pow = visit_Mod = visit_operator


class _Environment(ImmutableSandboxedEnvironment):
    """The environment that transformers renders chat templates in, with limits."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    running = False

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.constants = 0
        original: Environment = _compile_jinja_template("").environment
        super().__init__(
            trim_blocks=original.trim_blocks,
            lstrip_blocks=original.lstrip_blocks,
            extensions=[type(extension) for extension in original.extensions.values()],
            finalize=self._finalized,
        )
        self.globals = {name: value for name, value in original.globals.items() if name != "lipsum"}
        self.filters = {name: self._bounded(function) for name, function in original.filters.items()}

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Folding(self).visit(source), *args, **kwargs)

    def counted(self, value: Any) -> Any:
        """A constant that the compiler keeps."""
        self.constants += self._size(value)
        self._require(self.constants <= self.limit)
        return value

    def concat(self, parts: Iterable[str]) -> str:  # type: ignore[override]
        """Join what a template, a macro or `~` wrote."""
        pieces: list[str] = []
        total = 0
        for piece in parts:
            total += len(piece)
            self._require(total <= self.limit)
            pieces.append(piece)
        return "".join(pieces)

    def text(self, value: Any) -> str:
        """What `~` makes of a value."""
        self._size(value)
        return str(value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "%" and isinstance(left, str):
            self._check_format(left, [right])
        elif operator == "**" and numbers:
            self._require(isinstance(left, float) or isinstance(right, float) or _bits(left) * right <= self.limit)
        elif operator == "*" and not numbers:
            # A sequence and a number, in either order.
            number = next((value for value in (left, right) if isinstance(value, int)), 0)
            self._require((self._size(left) + self._size(right)) * number <= self.limit)
        elif operator == "+" and not numbers:
            self._require(self._size(left) + self._size(right) <= self.limit)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: B902
        receiver = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        name = getattr(__obj, "__name__", "")
        args = tuple(map(__self._listed, args))
        __self._check_arguments(name, receiver, [*args, *kwargs.values()])
        return super().call(__context, __obj, *args, **kwargs)

    def _bounded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        skipped = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context or the environment

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            args = (*args[:skipped], *map(self._listed, args[skipped:]))
            value, *others = args[skipped:] or (None,)
            self._check_arguments(function.__name__, value, [*others, *kwargs.values()])
            result = function(*args, **kwargs)
            return result if self.running else self.counted(result)

        return checked

    def _listed(self, value: Any) -> Any:
        """The items of an iterator, whose sizes nothing else tells."""
        if not isinstance(value, Iterator):
            return value
        items = list(itertools.islice(value, self.limit + 1))
        self._require(len(items) <= self.limit)
        return items

    def _check_arguments(self, name: str, value: Any, arguments: list[Any]) -> None:
        sizes = [self._size(argument) for argument in arguments]
        widths = [abs(argument) for argument in arguments if isinstance(argument, int)]
        self._require(max(widths, default=0) <= self.limit)
        own = self._size(value)
        self._require(max(own, 1) * max([*sizes, *widths], default=0) <= MOST_REPEATED)
        self._require(own + sum(sizes) <= self.limit)
        if name in _FORMATTING:
            for text in (value, *arguments):
                if isinstance(text, str):
                    self._check_format(text, arguments)

    def _check_format(self, text: str, arguments: list[Any]) -> None:
        """Widths and precisions stand in the text of a format, or among its arguments (`%*d`, `{:{width}}`)."""
        runs = _NUMBER.findall(text)
        self._require(all(len(run) <= len(str(self.limit)) for run in runs))
        among = [abs(argument) for argument in _flat(arguments) if isinstance(argument, int)]
        widths = (
            sum(map(int, runs)) + max(among, default=0) * text.count("*") + max(among, default=0) * text.count("{")
        )
        self._require(widths + len(text) + self._size(arguments) <= self.limit)

    def _finalized(self, value: Any) -> Any:
        self._size(value)
        return value

    def _size(self, value: Any) -> int:
        """How long a value is when it is written, at least; lists may hold the same value many times."""
        total, waiting = 0, [value]
        while waiting:
            part = waiting.pop()
            total += len(part) if isinstance(part, (str, bytes)) else 1
            self._require(total <= self.limit)
            if isinstance(part, Mapping):
                waiting += [*part.keys(), *part.values()]
            elif isinstance(part, (list, tuple, set, frozenset)):
                waiting += part
        return total

    def _require(self, fits: bool) -> None:
        if not fits:
            raise TooLargeError(f"a value would take more than {self.limit} characters")


def _bits(value: Any) -> int:
    return int(value).bit_length()


def _flat(values: Iterable[Any]) -> list[Any]:
    return [part for value in values for part in (value if isinstance(value, (list, tuple)) else [value])]
