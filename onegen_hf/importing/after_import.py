"""`after_import`: run something as soon as another package has been imported, and not before."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any


class _Watcher:
    """
    A finder of modules. Steps aside at the first import of one, and calls back when that is done.

    It does without `importlib.abc`, whose import would be the longest part of `import onegen_hf`.
    """

    def __init__(self, module: str, callback: Callable[[], Any]) -> None:
        self.module, self.callback = module, callback

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                self.callback()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def after_import(module: str, callback: Callable[[], Any]) -> None:
    """
    Call back once `module` has been imported: now, if it has been already.

    transformers knows no entry points, and a pipeline class can't be defined without importing transformers, which
    takes seconds. With this, `import onegen_hf` is cheap and `pipeline("onegen-rag")` works all the same.

    Args:
        module (`str`): Dotted name.
        callback (`Callable`): Takes no arguments.
    """
    if module in sys.modules:
        callback()
    else:
        sys.meta_path.insert(0, _Watcher(module, callback))
