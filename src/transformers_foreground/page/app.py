"""The page itself: its layout in Gradio, and what its controls do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import gradio as gr
from fastapi import FastAPI

from transformers_foreground.errors import ForegroundError
from transformers_foreground.page.api import add_api
from transformers_foreground.page.asgi import App
from transformers_foreground.page.callers import Names
from transformers_foreground.page.choices import choice_of, describe
from transformers_foreground.page.markup import STOPPED, TITLE, header, is_under_way, link, status, summary
from transformers_foreground.page.private import Private
from transformers_foreground.page.results import Result
from transformers_foreground.page.service import Failure, Note, Service
from transformers_foreground.page.tidying import keep_tidy
from transformers_foreground.page.uploads import upload_of

logger = logging.getLogger(__name__)

_SESSIONS: Final = 500  # that are remembered: Gradio keeps a copy of the whole page for each, and by default of 10,000
_SLIDER_HEIGHT: Final = 520
_HERE: Final = Path(__file__).parent
_NONE, _COLOUR, _BLUR, _PICTURE = "Transparent", "Colour", "Blurred", "Picture"
_FONTS: Final = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
_PRIVATE: Final = {"api_visibility": "private", "show_progress": "hidden"}


def application(service: Service, names: Names) -> App:
    """Give the whole server as an ASGI application.

    It must be made and run inside `surroundings.gradio_in`.

    Args:
        service: What does the work. Uploads and results lie in its folder, and are deleted after a while.
        names: By which the server may be called.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(keep_tidy(page, service.disk))
        yield
        tidying.cancel()
        service.close()

    outer = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    page = layout(service)
    # Gradio looks whether a file that a call names was uploaded only where this is set, as its launch() does.
    page.has_launched = True
    page.state_session_capacity = _SESSIONS
    gr.mount_gradio_app(
        outer,
        page,
        path="/",
        footer_links=[],
        max_file_size=service.settings.max_bytes,
        show_error=False,  # of errors that are not ours: they may tell of the server's folders
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=_theme(),
        css_paths=[_HERE / "style.css"],
        head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return Private(outer, names, service.disk)


def _theme() -> Any:
    # Fonts by name alone: Gradio's own defaults are files of Google Fonts.
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="md",
        font=_FONTS,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(  # dark enough for white text
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )


def layout(service: Service) -> Any:
    """Lay out the page and say what its controls do."""
    settings, choices = service.settings, service.choices
    first = choices[0]
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=False) as page:
        gr.HTML(header(service.settings), elem_id="header", padding=False)
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="given", min_width=300, scale=5):
                pictures = gr.File(
                    label="Pictures: drop, paste or choose",
                    file_count="multiple",
                    elem_id="pictures",
                    height=180,
                )
                more = gr.Button("Choose pictures", size="sm", elem_id="more")
                with gr.Row():
                    model = gr.Dropdown([c.id for c in choices], value=first.id, label="Model", min_width=200, scale=3)
                    dtype = gr.Dropdown(first.dtypes, value=settings.dtype, label="Precision", min_width=130, scale=1)
                facts = gr.HTML(elem_id="facts", padding=False)
                kind = gr.Radio([_NONE, _COLOUR, _BLUR, _PICTURE], value=_NONE, label="New background", elem_id="kind")
                colour = gr.ColorPicker("#ffffff", label="Background colour", elem_id="colour")
                behind = gr.File(label="Background picture", elem_id="behind", height=120)
                with gr.Row():
                    go = gr.Button("Remove background", variant="primary", elem_id="go", scale=3)
                    stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=70)
            with gr.Column(elem_id="made", min_width=300, scale=7):
                told = gr.HTML(status(), elem_id="status", padding=False)
                slider = gr.ImageSlider(
                    label="Before and after",
                    show_label=False,
                    elem_id="slider",
                    interactive=False,
                    max_height=_SLIDER_HEIGHT,
                    buttons=[],
                )
                several = gr.Radio([], label="Look at", elem_id="several")
                with gr.Row(elem_id="links"):
                    one = gr.HTML(elem_id="one", padding=False)
                    every = gr.HTML(elem_id="every", padding=False)
        results = gr.State([])

        def tell(chosen: str, dtype: str) -> str:
            choice = next((c for c in choices if c.id == chosen), first)
            return describe(choice, dtype)

        def tell_model(chosen: str) -> tuple[Any, str]:
            choice = next((c for c in choices if c.id == chosen), first)
            start = settings.dtype if choice is first else choice.dtypes[0]
            return gr.update(choices=choice.dtypes, value=start), describe(choice, start)

        async def remove(*values: Any) -> AsyncIterator[tuple[Any, ...]]:
            async for update in _remove(service, *values):
                yield update

        async def pack(made: list[Result]) -> Any:
            return await _every(service, made)

        def show(made: list[Result], index: int | None) -> tuple[Any, Any]:
            if not made or index is None:  # too many others came since
                return gr.skip(), gr.skip()
            return _pair(made[index]), link(made[index].file)

        page.load(tell, [model, dtype], facts, queue=False, **_PRIVATE)
        model.input(tell_model, model, [dtype, facts], queue=False, **_PRIVATE)
        dtype.input(tell, [model, dtype], facts, queue=False, **_PRIVATE)
        more.click(None, js="() => document.querySelector('#pictures input[type=file]').click()", **_PRIVATE)
        # Not preprocessed: Gradio would make an empty file for each upload, and forget it.
        run = go.click(
            remove,
            [pictures, model, dtype, kind, colour, behind],
            [told, slider, several, one, every, results],
            preprocess=False,
            concurrency_limit=None,
            **_PRIVATE,
        )
        run.then(tell, [model, dtype], facts, queue=False, **_PRIVATE)
        stopped = stop.click(_stopped, told, told, cancels=[run], queue=False, **_PRIVATE)
        # Again, as a note that was on its way may have come after that.
        again = stopped.then(_stopped, told, told, queue=False, **_PRIVATE)
        again.then(pack, results, every, queue=False, **_PRIVATE)
        several.input(show, [results, several], [slider, one], queue=False, **_PRIVATE)
        add_api(service)
    # Not open: calls that are not in the queue would not end with their caller.
    page.queue(max_size=settings.queue, default_concurrency_limit=None, api_open=False)
    return page


async def _remove(
    service: Service,
    given: Sequence[dict[str, Any]] | None,
    model: str,
    dtype: str,
    kind: str,
    colour: str | None,
    behind: dict[str, Any] | None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Yield values of the status, the slider, the choice, the two links and the results."""
    made: list[Result] = []
    failed: list[Failure] = []
    same = gr.skip()
    try:
        choice_of(service.choices, model, dtype)
        uploads = [upload_of(file, service.folder) for file in given or ()]
        background: Any = {_COLOUR: colour or "#ffffff", _BLUR: "blur"}.get(kind)
        if kind == _PICTURE:
            if behind is None:
                raise ForegroundError("There is no background picture yet: choose one, or another background.")
            background = upload_of(behind, service.folder)
        rest: tuple[Any, ...] = (None, gr.update(choices=[], value=None), "", "", [])  # what was made before goes
        async for outcome in service.remove(uploads, model, dtype, background):
            if isinstance(outcome, Note):
                yield status(outcome.text, outcome.share, failed), *rest
                rest = (same,) * 5
            elif isinstance(outcome, Failure):
                failed.append(outcome)
            else:
                made.append(outcome)
                first = (_pair(outcome), link(outcome.file)) if len(made) == 1 else (same, same)
                yield same, first[0], _several(made), first[1], same, list(made)
        every = await _every(service, made)
        yield status(summary(made, failed), None, failed, done=True), same, same, same, every, same
    except ForegroundError as error:
        yield status(str(error), None, failed, error=True), same, same, same, await _every(service, made), same
    except Exception:
        logger.exception("A request failed.")
        yield status("The server failed. Its log says why.", None, failed, error=True), same, same, same, same, same


async def _every(service: Service, made: Sequence[Result]) -> Any:
    """Write a link that downloads several cut-outs at once."""
    file = await service.pack(made) if len(made) > 1 else None
    return gr.skip() if file is None else link(file, f"Download all {len(made)} (zip)")


async def _stopped(told: str | None) -> Any:
    """Say that a request was stopped, after what it said last."""
    await asyncio.sleep(0.5)
    return status(STOPPED) if is_under_way(told) else gr.skip()


def _pair(result: Result) -> tuple[str, str]:
    return str(result.before), str(result.after)


def _several(made: Sequence[Result]) -> Any:
    if len(made) < 2:
        return gr.skip()
    names = [(result.name, index) for index, result in enumerate(made)]
    chosen = {"value": 0} if len(made) == 2 else {}  # later on it is the visitor's choice
    return gr.update(choices=names, **chosen)
