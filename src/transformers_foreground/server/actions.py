"""What the page's controls do."""

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
from transformers_foreground.server.uploads import upload_of

logger = logging.getLogger(__name__)

NONE, COLOUR, BLUR, IMAGE = "Transparent", "Colour", "Blurred", "Image"
CROP, SQUARE, SHADOW = "Crop to the object", "Square", "Shadow"
KINDS: Final = {"PNG": "png", "WebP": "webp", "JPEG": "jpeg"}
SIZES: Final = [("Original", 0), ("2000 pixels", 2000), ("1200 pixels", 1200), ("800 pixels", 800)]

_FAILED: Final = "The server failed. Its log says why."
_NO_BACKGROUND: Final = "There is no background image yet: choose one, or another background."


@dataclass(frozen=True)
class Actions:
    """What the page's controls do. Each method takes the values of some and returns those of others.

    The controls that say what cut-outs look like are, in this order: kind of background, colour, background image,
    finish (crop, square, shadow), size and file type.

    Attributes:
        service: What does the work.
        downloads: Where full-size cut-outs are offered.
    """

    service: Service
    downloads: Downloads

    def tell(self, chosen: str, dtype: str) -> str:
        """Describe the model that is chosen."""
        return describe(self._choice(chosen), dtype)

    def tell_model(self, chosen: str) -> tuple[Any, str]:
        """Offer the dtypes of another model, and describe it."""
        choice = self._choice(chosen)
        dtype = self.service.settings.dtype if choice is self.service.choices[0] else choice.dtypes[0]
        return gr.update(choices=dtype_titles(choice), value=dtype), describe(choice, dtype)

    def _choice(self, chosen: str) -> Any:
        choices = self.service.choices
        return next((choice for choice in choices if choice.id == chosen), choices[0])

    async def remove(self, given: Any, model: str, dtype: str, by_doubt: bool, *values: Any) -> AsyncIterator[Any]:
        """Yield values of the status, slider, gallery, links, results, and number of the result that is shown."""
        made: list[Result] = []
        failed: list[Failure] = []
        same = gr.skip()
        rest: tuple[Any, ...] = (None, [], "", [], 0)  # what was made before goes
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

    async def restyle(self, made: list[Result], shown: int, *values: Any) -> tuple[Any, Any]:
        """Compose the result that is shown anew; return values of the slider and the links."""
        if not made:
            return gr.skip(), gr.skip()
        try:
            look = self._look(*values)
            result = made[min(shown, len(made) - 1)]
            pair = _pair(await recompose(self.service, result, look))
            return pair, self._links(made, shown, look)
        except ForegroundError as error:
            return gr.skip(), notice(str(error))
        except Exception:
            logger.exception("A request failed.")
            return gr.skip(), notice(_FAILED)

    async def rethumb(self, made: list[Result], by_doubt: bool, *values: Any) -> Any:
        """Compose the thumbnails anew; return the gallery's value."""
        if len(made) < 2:
            return gr.skip()
        try:
            files = await thumbs(self.service, made, self._look(*values))
        except ForegroundError:  # `restyle` has said so
            return gr.skip()
        return _gallery(made, by_doubt, files)

    async def show(self, event: gr.SelectData, made: list[Result], by_doubt: bool, *values: Any) -> Any:
        """Show the result whose thumbnail was chosen; return values of the slider, the links and its number."""
        order = _order(made, by_doubt)
        if not isinstance(event.index, int) or not 0 <= event.index < len(order):
            return gr.skip(), gr.skip(), gr.skip()
        shown = order[event.index]
        return *await self.restyle(made, shown, *values), shown

    async def paint(self, made: list[Result], shown: int) -> tuple[Any, Any]:
        """Open the result that is shown for touching up; return values of the editor and the note below it."""
        if not made:
            return None, ""
        try:
            image = await canvas(self.service, made[min(shown, len(made) - 1)])
        except ForegroundError as error:
            return None, notice(str(error))
        return {"background": np.asarray(image), "layers": [], "composite": None}, gr.skip()

    async def apply(self, drawn: Any, made: list[Result], shown: int) -> tuple[Any, Any]:
        """Change the mask of the result that is shown; return the results, and what to say."""
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
        """Take the model's own mask again."""
        return [replace(one, edit="") if number == shown else one for number, one in enumerate(made)]

    async def stopped(self, told: str | None) -> Any:
        """Say that a request was stopped, after what it said last."""
        await asyncio.sleep(0.5)
        return status(STOPPED) if is_under_way(told) else gr.skip()

    def _look(self, kind: str, colour: str, behind: Any, finish: list[str], size: int, file_type: str) -> Look:
        background: Any = {COLOUR: colour or "#ffffff", BLUR: "blur"}.get(kind)
        if kind == IMAGE:
            if behind is None:
                raise ForegroundError(_NO_BACKGROUND)
            background = upload_of(behind, self.service.folder)
        return Look(
            background,
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
    """Give the thumbnails in order; a single result needs none."""
    if len(made) < 2:
        return gr.skip()
    return [(str(files[n] if files else made[n].thumb), caption(made[n])) for n in _order(made, by_doubt)]
