"""Charts as inline SVG: curves, and strips of one value a picture. Colours and dashes come from report.css."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from transformers_foreground.evaluation.aggregates import LEVELS, Columns, f_measure
from transformers_foreground.evaluation.markup import Html, join, tag

Values: TypeAlias = NDArray[np.float64]

STYLES: Final = 6  # of colours, and of dashes, in report.css
_WIDTH: Final = 400
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 12, 386, 246  # the plot's edges, below which are numbers and a label
_MIDDLE: Final = slice(13, 243)  # thresholds whose values set where an axis begins; the outermost fall to 0
_TICKS: Final = 150  # most ticks of a strip


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a chart.

    Attributes:
        style: Which colour and dash.
        label: The model.
        x: Places across, (n,).
        y: Places up, (n,).
        detail: What the legend and the description say of it.
        mark: A point to be marked.
    """

    style: int
    label: str
    x: Values
    y: Values
    detail: str = ""
    mark: tuple[float, float] | None = None


def style_of(number: int) -> str:
    """Return the classes of the n-th model: no two of the first 36 have both colour and dash in common."""
    return f"c{number % STYLES} d{(number + number // STYLES) % STYLES}"


def mean_curves(rows: Columns) -> tuple[Values, Values, Values] | None:
    """Return precision, recall and each picture's F, (256,) each, averaged over the pictures that have them.

    They are at thresholds 255 to 0, as in the rows.
    """
    precision, recall = rows["precision"], rows["recall"]
    known = ~(np.isnan(precision) | np.isnan(recall)).any(axis=1)
    if not known.any():
        return None
    precision, recall = precision[known], recall[known]
    return precision.mean(axis=0), recall.mean(axis=0), f_measure(precision, recall).mean(axis=0)


def curve_charts(dataset: str, rows: Sequence[tuple[str, Columns]]) -> list[Html]:
    """Return the three charts of a data set.

    Args:
        dataset: Its name.
        rows: Each model's label and rows, with the columns precision and recall.
    """
    across = np.arange(LEVELS - 1, -1, -1, dtype=np.float64)
    pr: list[Curve] = []
    per_picture: list[Curve] = []
    of_means: list[Curve] = []
    for style, (label, columns) in enumerate(rows):
        means = mean_curves(columns)
        if means is None:
            continue
        precision, recall, f = means
        pr.append(Curve(style, label, recall, precision))
        for curves, values in ((per_picture, f), (of_means, f_measure(precision, recall))):
            top = int(values.argmax())
            detail = f"max {values[top]:.4f} at {across[top]:.0f}"
            curves.append(Curve(style, label, across, values, detail, (across[top], float(values[top]))))
    if not pr:
        return []
    return [
        _chart(f"Precision and recall, {dataset}", "Precision and recall, averaged over pictures", pr, "recall"),
        _chart(f"F by threshold, mean of curves, {dataset}", "F, mean of curves", per_picture, "threshold"),
        _chart(f"F by threshold, of mean P and R, {dataset}", "F of mean P, R", of_means, "threshold"),
    ]


def _chart(title: str, heading: str, curves: Sequence[Curve], across: str) -> Html:
    up = "precision" if across == "recall" else "F"
    low_x, high_x = (_start(curve.x for curve in curves), 1.0) if across == "recall" else (0.0, 255.0)
    low_y = _start(curve.y for curve in curves)

    def x_of(value: float) -> float:
        return _LEFT + (value - low_x) / (high_x - low_x) * (_RIGHT - _LEFT)

    def y_of(value: float) -> float:
        return _BOTTOM - (value - low_y) / (1 - low_y) * (_BOTTOM - _TOP)

    ticks_x = _ticks(low_x) if across == "recall" else [0, 64, 128, 192, 255]
    parts = [_grid(x_of(tick), None, f"{tick:g}") for tick in ticks_x]
    parts += [_grid(None, y_of(tick), f"{tick:g}") for tick in _ticks(low_y)]
    parts.append(tag("text", across, x=(_LEFT + _RIGHT) / 2, y=_BOTTOM + 38, class_="axis", text_anchor="middle"))
    turned = f"translate(13 {(_TOP + _BOTTOM) / 2}) rotate(-90)"
    parts.append(tag("text", up, transform=turned, class_="axis", text_anchor="middle"))
    lines = [_path(curve, x_of, y_of) for curve in curves]
    marks = [_mark(curve, x_of, y_of) for curve in curves]
    plot = tag("svg", *lines, *marks, x=_LEFT, y=_TOP, width=_RIGHT - _LEFT, height=_BOTTOM - _TOP,
               viewBox=f"{_LEFT} {_TOP} {_RIGHT - _LEFT} {_BOTTOM - _TOP}")  # fmt: skip
    told = "; ".join(f"{curve.label}{f': {curve.detail}' if curve.detail else ''}" for curve in curves)
    desc = f"{up} from {low_y:g} to 1, by {across} from {low_x:g} to {high_x:g}. Lines: {told}."
    picture = tag(
        "svg", tag("title", title), tag("desc", desc), *parts, plot,
        viewBox=f"0 0 {_WIDTH} {_BOTTOM + 46}", role="img", class_="chart",
    )  # fmt: skip
    legend = tag("ul", *(_entry(curve) for curve in curves), class_="legend")
    return tag("figure", tag("figcaption", heading), picture, legend)


def _start(values: Iterable[Values]) -> float:
    """Return where an axis to 1 begins, a tenth: below all values but those at the outermost thresholds."""
    smallest = min(float(plane[_MIDDLE].min()) for plane in values)
    return max(0.0, min(0.9, math.floor(smallest * 10) / 10))


def _ticks(low: float) -> list[float]:
    step = 0.05 if low > 0.75 else 0.1 if low > 0.35 else 0.2
    first = math.ceil(round(low / step, 6))
    return [round(i * step, 2) for i in range(first, round(1 / step) + 1)]


def _grid(x: float | None, y: float | None, text: str) -> Html:
    if x is not None:
        line = tag("path", d=f"M{x:.1f} {_TOP}V{_BOTTOM}", class_="grid")
        return join(line, tag("text", text, x=f"{x:.1f}", y=_BOTTOM + 17, text_anchor="middle"))
    assert y is not None
    line = tag("path", d=f"M{_LEFT} {y:.1f}H{_RIGHT}", class_="grid")
    return join(line, tag("text", text, x=_LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end"))


Scale: TypeAlias = Callable[[float], float]


def _path(curve: Curve, x_of: Scale, y_of: Scale) -> Html:
    points = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in zip(curve.x, curve.y, strict=True))
    return tag("path", d=f"M{points}", class_=f"line {style_of(curve.style)}")


def _mark(curve: Curve, x_of: Scale, y_of: Scale) -> Html | None:
    if curve.mark is None:
        return None
    x, y = curve.mark
    return tag("circle", cx=f"{x_of(x):.1f}", cy=f"{y_of(y):.1f}", r=4, class_=f"mark {style_of(curve.style)}")


def _entry(curve: Curve) -> Html:
    swatch = swatch_of(curve.style)
    return tag("li", swatch, tag("span", curve.label), tag("small", curve.detail) if curve.detail else None)


def swatch_of(style: int) -> Html:
    """Return a short piece of a model's line."""
    line = tag("path", d="M0 5H36", class_=f"line {style_of(style)}")
    return tag("svg", line, viewBox="0 0 36 10", class_="swatch", aria_hidden="true")


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of seconds.

    Attributes:
        ticks: Its numbers, ascending: 1, 2 or 5 times a power of ten.
    """

    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Values) -> Axis:
        """Return one that holds positive values."""
        low, high = float(values.min()), float(values.max())
        decades = range(math.floor(math.log10(low)) - 1, math.floor(math.log10(high)) + 2)
        steps = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
        first = max(i for i, step in enumerate(steps) if step <= low)
        last = max(first + 1, min(i for i, step in enumerate(steps) if step >= high))
        return cls(tuple(steps[first : last + 1]))

    def share(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        low, high = math.log(self.ticks[0]), math.log(self.ticks[-1])
        return (math.log(value) - low) / (high - low)

    def header(self) -> Html:
        """Return its numbers; of many, those that there is room for."""
        step = -(-len(self.ticks) // 6)
        return tag(
            "span",
            *(tag("span", f"{t:g}", style=f"left:{100 * self.share(t):.2f}%") for t in self.ticks[::step]),
            class_="ticks",
        )


def strip(label: str, seconds: Values, axis: Axis, style: int) -> Html:
    """Return one model's times: a tick for each picture, a box of the middle half, a line at the median.

    Args:
        label: The model.
        seconds: Positive, (n,), n at least 1.
        axis: Common to all models.
        style: Which colour.
    """
    shown = seconds if len(seconds) <= _TICKS else np.quantile(seconds, np.linspace(0, 1, _TICKS))
    ticks = "".join(f"M{1000 * axis.share(float(value)):.0f} 5V19" for value in np.sort(shown))
    first, second, third = quartiles = [float(value) for value in np.quantile(seconds, [0.25, 0.5, 0.75])]
    low, middle, high = (1000 * axis.share(value) for value in quartiles)
    told = f"{label}: median {second:.3f} s, middle half {first:.3f} to {third:.3f} s, {len(seconds)} pictures"
    return tag(
        "svg",
        tag("title", told),
        tag("rect", x=f"{low:.0f}", y=2, width=f"{max(high - low, 2):.0f}", height=20, class_="half"),
        tag("path", d=ticks, class_="tick"),
        tag("path", d=f"M{middle:.0f} 0V24", class_="median"),
        viewBox="0 0 1000 24",
        preserveAspectRatio="none",
        role="img",
        class_=f"strip c{style % STYLES}",
    )
