"""The report of a run, in Markdown."""

from __future__ import annotations

import os
from typing import Final

from transformers_foreground.quantization.figures import Bounds, shown
from transformers_foreground.quantization.outcome import Outcome, Variant
from transformers_foreground.runtime.cpu import processor, usable_cpus

TITLE: Final = "# int8: "
"""How each page begins."""


def table(outcome: Outcome) -> str:
    """Return a table of size, speed and accuracy, a row for each graph."""
    rows = [
        "| variant | MB | speed, × fp32 | mean \\|Δα\\| | worst image | IoU mean | IoU worst | safe |",
        "|---|---|---|---|---|---|---|---|",
        f"| fp32 | {outcome.source_bytes / 1e6:.1f} | 1.00 | 0 | 0 | 1 | 1 | yes |",
    ]
    rows += [_row(variant, variant is outcome.chosen) for variant in outcome.curve]
    return "\n".join(rows)


def _row(variant: Variant, chosen: bool) -> str:
    figures = variant.figures
    ratio = "–" if variant.ratio is None else f"{variant.ratio[0]:.2f} ({variant.ratio[1]:.2f})"
    label = f"**{variant.label}**" if chosen else variant.label
    return (
        f"| {label} | {variant.bytes / 1e6:.1f} | {ratio} | {figures.mean_difference:.4f} | "
        f"{figures.worst_difference:.4f} | {shown(figures.mean_iou)} | {shown(figures.worst_iou)} | "
        f"{'no' if variant.unkept else 'yes'} |"
    )


def _truth_rows(variant: Variant) -> list[str]:
    rows = []
    for name, figures in variant.sets.items():
        s, mae = figures.s_measure, figures.mae
        truth = "– | – | –" if s is None else f"{s[0]:.4f} | {s[1]:.4f} | {s[1] - s[0]:+.4f}"
        error = "– | –" if mae is None else f"{mae[0]:.4f} | {mae[1]:.4f}"
        rows.append(
            f"| {variant.label} | {name} | {figures.images} | {truth} | {error} | {figures.mean_difference:.4f} | "
            f"{shown(figures.worst_iou)} |"
        )
    return rows


def report(model: str, outcome: Outcome, command: str, minutes: float, bounds: Bounds) -> str:
    """Return a page on a run, with the command that repeats it and the bounds."""
    figures = outcome.chosen.figures
    verdict = "keeps all of them" if outcome.safe else f"does not keep all of them ({'; '.join(outcome.chosen.unkept)})"
    lines = [
        f"{TITLE}{model}",
        "",
        f"Made by `{command}` in {minutes:.0f} minutes on {_machine()}. Do not edit.",
        "",
        f"Calibrated on {outcome.calibration[0]} images; method and float parts chosen on {outcome.calibration[1]} "
        f"others; every figure below is from {figures.images} further ones. {figures.nearly_empty} of them have "
        "an fp32 mask of less than 0.2 % of the pixels: they count in |Δα|, not in IoU.",
        "",
        f"Bounds: mean |Δα| ≤ {bounds.mean_difference}, worst IoU ≥ {bounds.worst_iou} (masks at 0.5, against fp32, at "
        f"the model's size), S-measure at most {bounds.s_measure_drop} below fp32's on every set. "
        f"The chosen model {verdict}.",
        "",
        "## Speed and accuracy",
        "",
        "Speed is the time of `session.run` of fp32 (simplified) divided by that of the variant, run in turn (A B A B "
        "…): median of the rounds, and in brackets by the shortest times. Shortest time of fp32: "
        f"{outcome.seconds[0]:.2f} s; of the chosen model: {outcome.seconds[1]:.2f} s.",
        "",
        table(outcome),
        "",
        "The row of fp32 itself, on inputs that differ by less than an 8-bit image can show, says how much the model's "
        "masks change by themselves: 8-bit arithmetic cannot do better.",
        "",
        "## Against the truth",
        "",
        "S-measure as in PySODMetrics without min-max stretch, truth > 128; MAE against the true mask's gray values. "
        "Both at the image's own size.",
        "",
        "| variant | set | images | S fp32 | S int8 | ΔS | MAE fp32 | MAE int8 | mean \\|Δα\\| | worst IoU |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *[row for variant in reversed(outcome.curve) for row in _truth_rows(variant)],
        "",
        "## What clips",
        "",
        "Tensors by their largest value over the median channel's clipping point. With one range for all channels, one "
        "such channel would leave the others a few of the 256 levels.",
        "",
        "| tensor | largest / typical |",
        "|---|---|",
        *[f"| `{name}` | {ratio:.0f} |" for name, ratio in outcome.wide],
        "",
        "## How",
        "",
        "1. Simplify: side outputs, shape arithmetic and casts are removed; the output is the same to the last bit.",
        "2. Statistics of every channel of every activation, one image at a time (`calibration.py`).",
        "3. Cross-layer equalisation by these statistics, through concatenations and residual sums "
        "(`equalization.py`): exact in float, and then one range per tensor is enough.",
        "4. Clipping at a percentile of each channel, chosen on the tuning images.",
        "5. The first convolution stays float, and so does the last with its resize and sigmoid: the logits' range is "
        "far wider than the part around 0 that decides the mask.",
        "6. If the bounds need it, the parts of the graph that gain most for their cost stay float: "
        f"here {', '.join(outcome.float_parts) or 'none'}.",
        "7. ONNX Runtime's QDQQuantizer writes QDQ: int8 weights per output channel, uint8 activations, int32 biases.",
    ]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    import onnxruntime as ort

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{processor()} ({usable_cpus()} cores), onnxruntime {ort.__version__}{load}"
