"""Packages that only the extra [eval] brings."""

from __future__ import annotations

from functools import partial

from transformers_foreground import extras

need = partial(extras.need, extra="eval", user="Evaluation")
