"""The parts of a report on one data set: figures, comparisons, curves, pictures, times, failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from transformers_foreground.evaluation.charts import Axis, curve_charts, strip
from transformers_foreground.evaluation.markup import Html, counted, join, table, tag
from transformers_foreground.evaluation.rows import Finished
from transformers_foreground.evaluation.sheets import Card, Panel, Sheet
from transformers_foreground.evaluation.summary import Comparison, Score, Summary
from transformers_foreground.evaluation.tables import (
    HEADINGS,
    about_rows,
    aggregate_of,
    best_value,
    comparison_row,
    pairs,
)

_ERRORS: Final = 50  # most failures that are named
_FIGURES: Final = (
    "Below each its 95 % interval; the best in bold. ↑\N{NO-BREAK SPACE}more is better, ↓\N{NO-BREAK SPACE}less."
)
_CONVENTIONS: Final = (
    "F with β² = 0.3, at each threshold from 0 to 255; circles are at the maximum. “Mean of curves” averages each "
    "picture's curve of F, as pysodmetrics does; “of mean P, R” averages precision and recall over pictures first, as "
    "most papers' tables do. Axes begin above 0 where all lines do."
)
_TIMES: Final = (
    "Seconds for each picture, the model alone, on a logarithmic axis: a tick for each picture, a box around the "
    "middle half, a line at the median."
)


def section(
    name: str, summary: Summary, scores: Sequence[Score], finished: Sequence[Finished], sheets: Sequence[Sheet]
) -> Html:
    """Return the section of a data set.

    Args:
        name: Its anchor.
        summary: What was found.
        scores: The data set's.
        finished: What is on disk of each of them.
        sheets: The pictures to show.
    """
    dataset = scores[0].dataset
    models = [(score.model, rows) for score, rows in zip(scores, finished, strict=True)]
    return tag(
        "section",
        tag("h2", dataset),
        tag("p", " ".join(filter(None, [summary.notes.get(dataset), about_rows(scores)])), class_="soft"),
        tag("div", _figures(scores), _comparisons(summary, dataset), class_="beside"),
        _curves(dataset, models),
        _pictures_of(sheets),
        _times(dataset, models),
        _failures(models),
        id=name,
    )


def _figures(scores: Sequence[Score]) -> Html:
    rows = []
    for name in scores[0].measures:
        aggregate = aggregate_of(name)
        best = best_value([score.measures[name] for score in scores], aggregate.higher)
        arrow = tag(
            "span", "↑" if aggregate.higher else "↓", title=f"{'more' if aggregate.higher else 'less'} is better"
        )
        cells = [_figure(score, name, aggregate.digits, best) for score in scores]
        rows.append(tag("tr", tag("th", aggregate.title, "\N{NO-BREAK SPACE}", arrow, scope="row"), *cells))
    headings = ["measure", *(score.model for score in scores)]
    inside = table(f"Figures, {scores[0].dataset}", headings, rows, kind="figures")
    return tag("div", tag("h3", "Figures"), tag("p", _FIGURES, class_="soft"), inside)


def _figure(score: Score, name: str, digits: int, best: float | None) -> Html:
    figure = score.measures[name]
    if figure.value is None:
        return tag("td", "–")
    value = tag("data", f"{figure.value:.{digits}f}", value=repr(figure.value))
    span = None
    if figure.low is not None and figure.high is not None:
        span = tag("small", f"{figure.low:.{digits}f} to {figure.high:.{digits}f}")
    return tag("td", tag("strong", value) if figure.value == best else value, span)


def _comparisons(summary: Summary, dataset: str) -> Html | None:
    compared = pairs(summary, dataset)
    if not compared:
        return None
    parts = []
    for number, ((first, second), comparisons) in enumerate(compared.items()):
        name = f"{first} less {second}, {dataset}"
        inside = table(name, HEADINGS, [_comparison(c) for c in comparisons], kind="compared")
        verdict = tag("summary", tag("b", f"{first} less {second}"), f": {_verdict(comparisons)}")
        parts.append(tag("details", verdict, inside, open="" if number == 0 else None))
    return tag("div", tag("h3", "Real or not"), *parts)


def _verdict(comparisons: Sequence[Comparison]) -> str:
    better: dict[str, int] = {}
    for comparison in comparisons:
        if comparison.better is not None:
            better[comparison.better] = better.get(comparison.better, 0) + 1
    if not better:
        return f"no real difference by any of {counted(len(comparisons), 'measure')}."
    rest = len(comparisons) - sum(better.values())
    told = [f"{model} is better by {count}" for model, count in better.items()]
    return f"of {counted(len(comparisons), 'measure')}, {', '.join([*told, f'no real difference by {rest}'])}."


def _comparison(comparison: Comparison) -> Html:
    name, *others, real = comparison_row(comparison)
    cells = [tag("td", cell.strip("[]").replace(", ", " to ").replace("-", "−")) for cell in others]
    verdict = tag("td", real, class_="left yes" if comparison.real else "left")
    return tag("tr", tag("th", name, scope="row"), *cells, verdict)


def _curves(dataset: str, finished: Sequence[tuple[str, Finished]]) -> Html | None:
    if not all("precision" in done.rows for _, done in finished):
        return None
    charts = curve_charts(dataset, [(label, done.rows) for label, done in finished])
    if not charts:
        return None
    return join(tag("h3", "Curves"), tag("p", _CONVENTIONS, class_="soft"), tag("div", *charts, class_="charts"))


def _pictures_of(sheets: Sequence[Sheet]) -> Html | None:
    if not sheets:
        return None
    key = tag(
        "p",
        "|Δ|, the difference from the truth, as brightness: ",
        tag("i", class_="surplus"), "kept too much, ", tag("i", class_="lost"), "lost, ",
        tag("i", class_="uncounted"), "not counted. The best and the worst are of the model with the best mean.",
        class_="key soft",
    )  # fmt: skip
    return join(tag("h3", "Pictures"), key, *(_sheet(sheet) for sheet in sheets))


def _sheet(sheet: Sheet) -> Html:
    return join(tag("h4", sheet.title), tag("div", *(_card(card) for card in sheet.cards), class_="cards"))


def _card(card: Card) -> Html:
    panels = tag("div", *(_panel(panel, card.key) for panel in card.panels), class_="panels")
    several = len(card.figures) > 1
    figures = [
        tag("div", f"{model}:" if several else None, *(tag("span", text) for text in told))
        for model, told in card.figures
    ]
    return tag("figure", panels, tag("figcaption", tag("b", card.key), *figures), class_="card")


def _panel(panel: Panel, key: str) -> Html:
    image = tag(
        "img", src=panel.uri, width=panel.width, height=panel.height, alt=f"{key}: {panel.title}", decoding="async"
    )
    return tag("div", image, tag("span", panel.title), class_="panel")


def _times(dataset: str, finished: Sequence[tuple[str, Finished]]) -> Html | None:
    seconds = [(number, label, _seconds(done.rows)) for number, (label, done) in enumerate(finished)]
    known = [times for _, _, times in seconds if len(times)]
    if not known:
        return None
    axis = Axis.over(np.concatenate(known))
    rows = []
    for number, label, times in seconds:
        if len(times):
            low, middle, high = np.quantile(times, [0.05, 0.5, 0.95])
            cells = [tag("td", strip(label, times, axis, number)), tag("td", f"{middle:.3f}")]
            rows.append(tag("tr", tag("th", label, scope="row"), *cells, tag("td", f"{low:.3f} to {high:.3f}")))
    headings = ["model", axis.header(), "median", "5 % to 95 %"]
    return join(
        tag("h3", "Time"),
        tag("p", _TIMES, class_="soft"),
        table(f"Time, {dataset}", headings, rows, kind="timing"),
    )


def _seconds(rows: Any) -> Any:
    return rows["seconds"][rows["seconds"] > 0]  # NaN is not


def _failures(finished: Sequence[tuple[str, Finished]]) -> Html | None:
    told = [
        tag("li", tag("b", key), f" by {label}: {error}")
        for label, done in finished
        for key, error in zip(done.rows["key"], done.rows["error"], strict=True)
        if error is not None
    ]
    if not told:
        return None
    more = tag("li", f"and {len(told) - _ERRORS} more") if len(told) > _ERRORS else None
    listed = tag("ul", *told[:_ERRORS], more)
    return join(tag("h3", "Without values"), tag("details", tag("summary", counted(len(told), "row")), listed))
