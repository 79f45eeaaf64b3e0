"""The geometry of a report's charts, which report.html.j2 draws as SVG; colours and dashes are in report.css."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.aggregates import LEVELS, Columns, f_measure
from transformers_foreground.evaluation.selective import doubts_and_risks, risk_coverage

Values: TypeAlias = NDArray[np.float64]

STYLES: Final = 6  # colours, and dashes, in report.css
LEFT, TOP, RIGHT, BOTTOM = 46, 12, 386, 246  # edges of the plot, without its numbers and labels
_MIDDLE: Final = slice(13, 243)  # thresholds that an axis must show; at the outermost, values fall to 0
_STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2)  # between the numbers of an axis
_MOST_TICKS: Final = 150  # in a strip


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a chart.

    Attributes:
        style: Number of its colour and dash.
        label: The model's label.
        x: Horizontal values, float64, (n,).
        y: Vertical values, float64, (n,).
        detail: Text for the legend and the description.
        mark: A point to mark, or `None`.
    """

    style: int
    label: str
    x: Values
    y: Values
    detail: str = ""
    mark: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A curve as SVG: classes, label, detail, path, and the place of its mark."""

    style: str
    label: str
    detail: str
    path: str
    mark: tuple[str, str] | None


@dataclass(frozen=True)
class Chart:
    """A chart as SVG: texts, the numbers of each axis with their places, and lines."""

    title: str
    heading: str
    across: str
    up: str
    description: str
    x_ticks: Sequence[tuple[str, str]]
    y_ticks: Sequence[tuple[str, str]]
    lines: Sequence[Line]


def style_of(number: int) -> str:
    """Return the CSS classes of the n-th model; the first 36 are all different."""
    return f"c{number % STYLES} d{(number + number // STYLES) % STYLES}"


def mean_curves(rows: Columns) -> tuple[Values, Values, Values] | None:
    """Return the means over images of precision, recall and F, (256,) each, at thresholds 255 down to 0.

    `None` if no image has them.
    """
    precision, recall = rows["precision"], rows["recall"]
    known = ~(np.isnan(precision) | np.isnan(recall)).any(axis=1)
    if not known.any():
        return None
    precision, recall = precision[known], recall[known]
    return precision.mean(axis=0), recall.mean(axis=0), f_measure(precision, recall).mean(axis=0)


def curve_charts(dataset: str, rows: Sequence[tuple[str, Columns]]) -> list[Chart]:
    """Return a data set's charts: precision and recall, F by threshold in two conventions, risk by coverage."""
    across = np.arange(LEVELS - 1, -1, -1, dtype=np.float64)
    pr: list[Curve] = []
    per_image: list[Curve] = []
    of_means: list[Curve] = []
    risks: list[Curve] = []
    for style, (label, columns) in enumerate(rows):
        means = mean_curves(columns) if "precision" in columns else None
        if means is None:
            continue
        precision, recall, f = means
        pr.append(Curve(style, label, recall, precision))
        for curves, values in ((per_image, f), (of_means, f_measure(precision, recall))):
            top = int(values.argmax())
            detail = f"max {values[top]:.4f} at {across[top]:.0f}"
            curves.append(Curve(style, label, across, values, detail, (across[top], float(values[top]))))
        curve = risk_coverage(*doubts_and_risks(columns))
        if len(curve) > 1:
            coverage = np.arange(1, len(curve) + 1) / len(curve)
            risks.append(Curve(style, label, coverage, curve, f"area {curve.mean():.4f}"))
    if not pr:
        return []
    low_r, low_p, low_f, low_m = (
        _start(values)
        for values in ([c.x for c in pr], *([c.y for c in curves] for curves in (pr, per_image, of_means)))
    )
    heading = "Precision and recall, averaged over images"
    charts = [
        _chart(f"Precision and recall, {dataset}", heading, ("recall", low_r, 1), ("precision", low_p, 1), pr),
        _chart(
            f"F by threshold, mean of curves, {dataset}", "F, mean of curves", _THRESHOLD, ("F", low_f, 1), per_image
        ),
        _chart(f"F by threshold, of mean P and R, {dataset}", "F of mean P, R", _THRESHOLD, ("F", low_m, 1), of_means),
    ]
    if risks:
        high = min(1.0, math.ceil(max(float(curve.y.max()) for curve in risks) * 10 + 1e-9) / 10)
        heading = "Risk and coverage: mean of 1 − IoU of the images doubted least"
        up = ("1 − IoU", 0.0, max(0.1, high))
        charts.append(_chart(f"Risk by coverage, {dataset}", heading, ("coverage", 0, 1), up, risks))
    return charts


_Axis: TypeAlias = tuple[str, float, float]  # name, beginning and end
_THRESHOLD: Final = ("threshold", 0.0, 255.0)


def _chart(title: str, heading: str, across: _Axis, up: _Axis, curves: Sequence[Curve]) -> Chart:
    x_of, y_of = _scale(across, LEFT, RIGHT), _scale(up, BOTTOM, TOP)
    ticks = [0.0, 64, 128, 192, 255] if across is _THRESHOLD else _ticks(across)
    lines = "; ".join(f"{curve.label}{f': {curve.detail}' if curve.detail else ''}" for curve in curves)
    return Chart(
        title,
        heading,
        across[0],
        up[0],
        f"{up[0]} from {up[1]:g} to {up[2]:g}, by {across[0]} from {across[1]:g} to {across[2]:g}. Lines: {lines}.",
        [(f"{x_of(tick):.1f}", f"{tick:g}") for tick in ticks],
        [(f"{y_of(tick):.1f}", f"{tick:g}") for tick in _ticks(up)],
        [_line(curve, x_of, y_of) for curve in curves],
    )


def _scale(axis: _Axis, start: float, end: float) -> Callable[[float], float]:
    _, low, high = axis
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _line(curve: Curve, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> Line:
    points = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in zip(curve.x, curve.y, strict=True))
    mark = curve.mark and (f"{x_of(curve.mark[0]):.1f}", f"{y_of(curve.mark[1]):.1f}")
    return Line(style_of(curve.style), curve.label, curve.detail, f"M{points}", mark)


def _start(values: Iterable[Values]) -> float:
    """Return where an axis up to 1 begins: at the tenth below all values but those at the outermost thresholds."""
    smallest = min(float(plane[_MIDDLE].min()) for plane in values)
    return max(0.0, min(0.9, math.floor(smallest * 10) / 10))


def _ticks(axis: _Axis) -> list[float]:
    _, low, high = axis
    step = next(step for step in _STEPS if (high - low) / step <= 6.5)
    return [round(i * step, 2) for i in range(math.ceil(round(low / step, 6)), round(high / step) + 1)]


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of seconds.

    Attributes:
        ticks: Its numbers, ascending; each is 1, 2 or 5 times a power of ten.
    """

    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Values) -> Axis:
        """Return an axis that covers these positive values."""
        low, high = float(values.min()), float(values.max())
        decades = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)
        steps = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
        first = max(i for i, step in enumerate(steps) if step <= low)
        last = max(first + 1, min(i for i, step in enumerate(steps) if step >= high))
        return cls(tuple(steps[first : last + 1]))

    def share(self, value: float) -> float:
        """Return the place of a value, from 0 to 1."""
        low, high = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return (math.log(value) - low) / (high - low)

    def header(self) -> list[tuple[str, str]]:
        """Return its numbers (at most six) with their places in percent."""
        step = -(-len(self.ticks) // 6)
        return [(f"{tick:g}", f"{100 * self.share(tick):.2f}") for tick in self.ticks[::step]]


@dataclass(frozen=True)
class Strip:
    """One model's times as SVG, 1000 wide: a tick for each image, a box of the middle half, a line at the median."""

    style: int
    label: str
    description: str
    ticks: str
    left: str
    width: str
    median: str
    shown: tuple[str, str]

    @classmethod
    def of(cls, label: str, seconds: Values, axis: Axis, style: int) -> Strip:
        """Make the strip of positive seconds, (n,), n at least 1."""
        some = seconds if len(seconds) <= _MOST_TICKS else np.quantile(seconds, np.linspace(0, 1, _MOST_TICKS))
        lowest, first, second, third, highest = np.quantile(seconds, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
        low, middle, high = (1000 * axis.share(value) for value in (first, second, third))
        return cls(
            style % STYLES,
            label,
            f"{label}: median {second:.3f} s, middle half {first:.3f} to {third:.3f} s, {len(seconds)} images",
            "".join(f"M{1000 * axis.share(float(value)):.0f} 5V19" for value in np.sort(some)),
            f"{low:.0f}",
            f"{max(high - low, 2):.0f}",
            f"M{middle:.0f} 0V24",
            (f"{second:.3f}", f"{lowest:.3f} to {highest:.3f}"),
        )
