"""Evaluation: measure models on data sets with ground truth, with confidence intervals and paired comparisons.

Needs the extra: `pip install -e '.[eval]'`. Nothing is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers_foreground.evaluation.recipes import Recipe as Recipe
    from transformers_foreground.evaluation.report import write_report as write_report
    from transformers_foreground.evaluation.runner import evaluate as evaluate
    from transformers_foreground.evaluation.summary import Summary as Summary

_HOME = {"Recipe": "recipes", "Summary": "summary", "evaluate": "runner", "write_report": "report"}

__all__ = ["Recipe", "Summary", "evaluate", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
