"""torchaudio where its compiled part cannot be loaded, as PyPI's wheel on a CPU-only torch.

Its transforms are plain torch and need no compiled part, but `import torchaudio` loads it first,
and so do transformers' speech models. `prepare` puts a stand-in for that part in its place, only
where the real one fails. This module imports no torch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def prepare() -> ModuleType:
    """torchaudio, its transforms working; to be called before transformers' models are imported.

    Raises:
        ModuleNotFoundError: torchaudio is not installed
    """
    try:
        return importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError):
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
    part: Any = ModuleType("torchaudio._extension")
    part._IS_TORCHAUDIO_EXT_AVAILABLE = False
    part.fail_if_no_align = _refusing
    sys.modules["torchaudio._extension"] = part
    return importlib.import_module("torchaudio")


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{function.__name__} needs torchaudio's compiled part")

    return refuse
