"""What the page's controls do: Gradio calls these methods."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import gradio as gr
import numpy as np

from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.choices import choice_of, describe, dtype_titles
from transformers_foreground.server.downloads import Downloads
from transformers_foreground.server.looks import Look
from transformers_foreground.server.markup import STOPPED, caption, is_under_way, link, notice, status, summary
from transformers_foreground.server.progress import Failure, Note
from transformers_foreground.server.recompose import recompose, thumbs
from transformers_foreground.server.results import Result
from transformers_foreground.server.service import Service
from transformers_foreground.server.touchup import canvas, touch_up
from transformers_foreground.server.uploads import background_of, upload_of

logger = logging.getLogger(__name__)

NONE, COLOUR, BLUR, IMAGE = "Transparent", "Colour", "Blurred", "Image"
CROP, SQUARE, SHADOW = "Crop to the object", "Square", "Shadow"
KINDS: Final = {"PNG": "png", "WebP": "webp", "JPEG": "jpeg"}
SIZES: Final = [("Original", 0), ("2000 pixels", 2000), ("1200 pixels", 1200), ("800 pixels", 800)]

_FAILED: Final = "The server failed. Its log says why."
_NO_BACKGROUND: Final = "There is no background image yet: choose one, or another background."


@dataclass(frozen=True)
class Actions:
    """What the page's controls do. Each method takes values of some controls and returns new values of others.

    `values` are those of the controls for the look of cut-outs, in this order: kind of background, colour, background
    image, finish (crop, square, shadow), size and file type. Callers may send anything as a value.

    Attributes:
        service: Does the work.
        downloads: Makes links to full-size cut-outs.
    """

    service: Service
    downloads: Downloads

    def facts(self, chosen: str, dtype: str) -> str:
        """Describe the model that is chosen."""
        return describe(self._choice(chosen), dtype)

    def choose_model(self, chosen: str) -> tuple[Any, str]:
        """Return the dtypes of the model that was chosen, and its description."""
        choice = self._choice(chosen)
        dtype = self.service.settings.dtype if choice is self.service.choices[0] else choice.dtypes[0]
        return gr.update(choices=dtype_titles(choice), value=dtype), describe(choice, dtype)

    def _choice(self, chosen: str) -> Any:
        choices = self.service.choices
        return next((choice for choice in choices if choice.id == chosen), choices[0])

    async def remove(self, given: Any, model: str, dtype: str, by_doubt: bool, *values: Any) -> AsyncIterator[Any]:
        """Cut out images.

        Yields:
            Values of the status, slider, gallery, links, results, and the number of the result that is shown.
        """
        made: list[Result] = []
        failed: list[Failure] = []
        same = gr.skip()
        rest: tuple[Any, ...] = (None, [], "", [], 0)  # clears the results of the request before
        try:
            choice_of(self.service.choices, model, dtype)
            uploads = [upload_of(file, self.service.folder) for file in given or ()]
            look = self._look(*values)
            async for outcome in self.service.remove(uploads, model, dtype, look):
                if isinstance(outcome, Note):
                    yield status(outcome.text, outcome.share, failed), *rest
                    rest = (same,) * 5
                elif isinstance(outcome, Failure):
                    failed.append(outcome)
                else:
                    made.append(outcome)
                    first = (_pair(outcome), self._links(made, 0, look)) if len(made) == 1 else (same, same)
                    yield same, first[0], _gallery(made, by_doubt), first[1], list(made), same
            yield status(summary(made, failed), None, failed, done=True), *(same,) * 5
        except ForegroundError as error:
            yield status(str(error), None, failed, error=True), *(same,) * 5
        except Exception:
            logger.exception("A request failed.")
            yield status(_FAILED, None, failed, error=True), *(same,) * 5

    async def settle(self, made: list[Result], shown: int, *values: Any) -> tuple[Any, Any]:
        """Do `restyle` after a request; but leave a slider alone that shows the right look: it may be in use."""
        return await self.restyle(made, shown, *values, keep=True)

    async def restyle(self, made: list[Result], shown: int, *values: Any, keep: bool = False) -> tuple[Any, Any]:
        """Give the result that is shown another look; return values of the slider and the links."""
        if not made:
            return gr.skip(), gr.skip()
        try:
            look = self._look(*values)
            result = made[min(shown, len(made) - 1)]
            keep = keep and result.look == look
            pair = gr.skip() if keep else _pair(await recompose(self.service, result, look))
            return pair, self._links(made, shown, look)
        except ForegroundError as error:
            return gr.skip(), notice(str(error))
        except Exception:
            logger.exception("A request failed.")
            return gr.skip(), notice(_FAILED)

    async def rethumb(self, made: list[Result], by_doubt: bool, *values: Any) -> Any:
        """Give the thumbnails another look; return the gallery's value."""
        if len(made) < 2:
            return gr.skip()
        try:
            files = await thumbs(self.service, made, self._look(*values))
        except ForegroundError:  # `restyle` shows the error
            return gr.skip()
        return _gallery(made, by_doubt, files)

    async def show(self, event: gr.SelectData, made: list[Result], by_doubt: bool, *values: Any) -> Any:
        """Show the result whose thumbnail was clicked; return values of the slider, the links and its number."""
        order = _order(made, by_doubt)
        if not isinstance(event.index, int) or not 0 <= event.index < len(order):
            return gr.skip(), gr.skip(), gr.skip()
        shown = order[event.index]
        return *await self.restyle(made, shown, *values), shown

    async def paint(self, made: list[Result], shown: int) -> tuple[Any, Any]:
        """Put the result that is shown into the editor; return values of the editor and the notice below it."""
        if not made:
            return None, ""
        try:
            image = await canvas(self.service, made[min(shown, len(made) - 1)])
        except ForegroundError as error:
            return None, notice(str(error))
        return {"background": np.asarray(image), "layers": [], "composite": None}, gr.skip()

    async def apply(self, drawn: Any, made: list[Result], shown: int) -> tuple[Any, Any]:
        """Apply the strokes to the result that is shown; return the results and the notice."""
        layers = drawn.get("layers") if isinstance(drawn, dict) else None
        if not made or not isinstance(layers, list) or not layers:
            return gr.skip(), notice("Nothing is painted yet.")
        shown = min(shown, len(made) - 1)
        try:
            changed = await touch_up(self.service, made[shown], upload_of(layers[0], self.service.folder))
        except ForegroundError as error:
            return gr.skip(), notice(str(error))
        return [*made[:shown], changed, *made[shown + 1 :]], ""

    def start_over(self, made: list[Result], shown: int) -> list[Result]:
        """Drop the touch-up of the result that is shown; return the results."""
        return [replace(one, edit="") if number == shown else one for number, one in enumerate(made)]

    async def stopped(self, shown: str | None) -> Any:
        """Say that a request was stopped, once its last status has arrived."""
        await asyncio.sleep(0.5)
        return status(STOPPED) if is_under_way(shown) else gr.skip()

    def _look(self, kind: str, colour: str, behind: Any, finish: list[str], size: int, file_type: str) -> Look:
        if kind == IMAGE and behind is None:
            raise ForegroundError(_NO_BACKGROUND)
        given = {COLOUR: colour or "#ffffff", BLUR: "blur", IMAGE: behind}.get(kind)
        return Look(
            background_of(given, self.service.folder),
            crop=CROP in finish,
            square=SQUARE in finish,
            shadow=SHADOW in finish,
            size=int(size) or None,
            kind=KINDS.get(file_type, "png"),
        )

    def _links(self, made: Sequence[Result], shown: int, look: Look) -> str:
        result = made[min(shown, len(made) - 1)]
        links = link(self.downloads.offer([result], look), f"Download {result.file_name(look)}", "one")
        if len(made) > 1:
            links += link(self.downloads.offer(made, look), f"Download all {len(made)} (zip)", "every")
        return links


def _pair(result: Result) -> tuple[str, str]:
    return str(result.before), str(result.after)


def _order(made: Sequence[Result], by_doubt: bool) -> list[int]:
    return sorted(range(len(made)), key=lambda number: -made[number].doubt) if by_doubt else list(range(len(made)))


def _gallery(made: Sequence[Result], by_doubt: bool, files: Sequence[Any] = ()) -> Any:
    """Return the thumbnails in order. A single result needs none."""
    if len(made) < 2:
        return gr.skip()
    return [(str(files[n] if files else made[n].thumb), caption(made[n])) for n in _order(made, by_doubt)]
