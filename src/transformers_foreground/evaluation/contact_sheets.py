"""Contact sheets: thumbnails of the best, the worst and the most different images of an evaluation."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from transformers_foreground.errors import ImageError
from transformers_foreground.evaluation.aggregates import Aggregate, Columns, aggregates
from transformers_foreground.evaluation.ground_truth import Truth, read_truth
from transformers_foreground.evaluation.recipes import DatasetSpec, Recipe
from transformers_foreground.evaluation.shards import job_folder, read_finished
from transformers_foreground.evaluation.sources import Item, Source
from transformers_foreground.images.decode import decode
from transformers_foreground.segmenter import Segmenter

IMAGES: Final = 3  # of each kind
SIDE: Final = 288  # longest side of a thumbnail
_RANKED_BY: Final = {"alpha": "mad", "binary": "mae", "boundary": "biou", "correction": "hce"}
_SHOWN: Final = ("mad", "mae", "iou", "s", "biou", "mba", "hce")  # below an image: the first three that it has
_SURPLUS, _LOST = np.array([255.0, 140, 0]), np.array([70.0, 150, 255])  # colours of |Δ|: wrongly kept, lost
_NOT_COUNTED: Final = 70  # gray of |Δ| where pixels do not count


@dataclass(frozen=True)
class Panel:
    """One thumbnail.

    Attributes:
        title: What it shows, such as "truth".
        uri: The thumbnail, as a data: URI.
        width: Width in pixels.
        height: Height in pixels.
    """

    title: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Card:
    """One image of the data set.

    Attributes:
        key: The image's name.
        figures: For each model shown its label, and figures as text.
        panels: Image, truth, then mask and |Δ| of each model.
    """

    key: str
    figures: tuple[tuple[str, Sequence[str]], ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Sheet:
    """Images of one kind.

    Attributes:
        title: What they have in common.
        cards: One for each image.
    """

    title: str
    cards: tuple[Card, ...]


Sheets: TypeAlias = Mapping[str, Sequence[Sheet]]


def contact_sheets(recipe: Recipe, sources: Mapping[str, Source], output: Path) -> Sheets:
    """Choose images of a finished run, and make their masks again.

    Images are ranked by the mean absolute error, if that was measured. The best and the worst images are those of the
    model that is best on the data set; the most different are of the first pair of models to compare.

    Args:
        recipe: The recipe of the run.
        sources: Name of data set to its images.
        output: Folder of the run.

    Returns:
        Name of data set to its sheets.

    Raises:
        ForegroundError: A model cannot be loaded, or an image can no longer be read.
    """
    choices = {spec.name: _choose(spec, recipe, output) for spec in recipe.datasets}
    panels: dict[tuple[str, int, str], tuple[Panel, Panel]] = {}
    for model in recipe.models:
        wanted = [(spec, _places(choices[spec.name], model.label)) for spec in recipe.datasets]
        if not any(places for _, places in wanted):
            continue
        with Segmenter(model.id, **model.options) as segmenter:  # only one model is open at a time
            for spec, places in wanted:
                for place, item in zip(places, sources[spec.name].read(places), strict=True):
                    known = (spec.name, place, "") in panels
                    pairs = _panels(item, spec, model.label, segmenter, known)
                    panels.update({(spec.name, place, name): pair for name, pair in pairs.items()})
    return {name: [_sheet(name, choice, panels) for choice in chosen] for name, chosen in choices.items()}


@dataclass(frozen=True, eq=False)
class _Choice:
    title: str
    models: tuple[str, ...]
    places: tuple[int, ...]
    rows: Mapping[str, Columns]
    figures: tuple[Aggregate, ...]


def _places(choices: Sequence[_Choice], model: str) -> list[int]:
    """Return the indices of the images that a model must make masks of."""
    return sorted({place for choice in choices if model in choice.models for place in choice.places})


def _choose(spec: DatasetSpec, recipe: Recipe, output: Path) -> list[_Choice]:
    measures = {measure.name: measure for measure in aggregates(spec.measures, tuple(spec.bands))}
    by = measures[next(name for group, name in _RANKED_BY.items() if group in spec.measures)]
    figures = tuple(measures[name] for name in _SHOWN if name in measures)
    names = tuple(dict.fromkeys(["key", *(measure.name for measure in (by, *figures))]))
    folders = {model.label: job_folder(output, model.label, spec.name) for model in recipe.models}
    rows = {label: read_finished(folder, names).rows for label, folder in folders.items()}
    sign = -1.0 if by.higher else 1.0
    costs = {label: sign * by.values(columns)[:, 0] for label, columns in rows.items()}  # lower is better
    known = [label for label in costs if not np.isnan(costs[label]).all()]
    if not known:
        return []
    best = min(known, key=lambda label: float(np.nanmean(costs[label])))
    order = _ascending(costs[best])
    count = min(IMAGES, -(-len(order) // 2))
    first, last = order[:count], order[count:][-IMAGES:][::-1]
    kinds: list[tuple[str, tuple[str, ...], list[int]]]
    kinds = [(f"Best by {by.title}: {best}", (best,), first), (f"Worst by {by.title}: {best}", (best,), last)]
    for one, other in recipe.pairs()[:1]:
        apart = -np.abs(costs[one] - costs[other])
        different = [place for place in _ascending(apart) if apart[place] < 0][:IMAGES]
        kinds.append((f"Most different by {by.title}: {one}, {other}", (one, other), different))
    return [_Choice(title, models, tuple(places), rows, figures) for title, models, places in kinds if places]


def _ascending(costs: NDArray[np.float64]) -> list[int]:
    """Return the indices of the values in ascending order, without NaNs."""
    return [int(place) for place in np.argsort(costs, kind="stable") if not np.isnan(costs[place])]


def _sheet(dataset: str, choice: _Choice, panels: Mapping[tuple[str, int, str], tuple[Panel, Panel]]) -> Sheet:
    cards = []
    for place in choice.places:
        shown = [*panels[dataset, place, ""]]
        for model in choice.models:
            shown += panels[dataset, place, model]
        figures = [(model, _figures(choice.figures, choice.rows[model], place)) for model in choice.models]
        cards.append(Card(str(choice.rows[choice.models[0]]["key"][place]), tuple(figures), tuple(shown)))
    return Sheet(choice.title, tuple(cards))


def _figures(figures: Sequence[Aggregate], rows: Columns, place: int) -> list[str]:
    values = ((figure, float(figure.values(rows)[place, 0])) for figure in figures)
    return [f"{figure.title} {value:.{figure.digits}f}" for figure, value in values if not np.isnan(value)][:3]


def _panels(
    item: Item, spec: DatasetSpec, model: str, segmenter: Segmenter, known: bool
) -> dict[str, tuple[Panel, Panel]]:
    """Return a model's mask and |Δ| under its label and, unless these are known, image and truth under `""`."""
    if item.error is not None:
        raise ImageError(item.error)
    image = decode(item.image)
    truth = read_truth(item, spec, image.height, image.width)
    target = truth.alpha if "alpha" in spec.measures else truth.mask.astype(np.float64)
    mask = segmenter(image).mask
    panels = {model: (_panel(model, mask), _panel(f"|Δ| {model}", _delta(mask, target, truth)))}
    if not known:
        panels[""] = _panel("image", image.rgb()), _panel("truth", np.rint(target * 255).astype(np.uint8))
    return panels


def _delta(mask: NDArray[np.uint8], target: NDArray[np.float64], truth: Truth) -> NDArray[np.uint8]:
    """Return |Δ| as brightness, uint8 (H, W, 3), in one colour for pixels wrongly kept and another for lost ones."""
    signed = (mask / 255.0 - target)[..., None]
    colours: NDArray[np.float64] = np.where(signed > 0, _SURPLUS, _LOST) * np.abs(signed)
    if truth.counted is not None:
        colours[~truth.counted] = _NOT_COUNTED
    return np.asarray(np.rint(colours), np.uint8)


def _panel(title: str, pixels: NDArray[np.uint8]) -> Panel:
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    kind = "WEBP" if features.check("webp") else "JPEG"
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=78)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Panel(title, f"data:image/{kind.lower()};base64,{encoded}", image.width, image.height)
