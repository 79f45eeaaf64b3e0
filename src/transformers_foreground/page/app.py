"""The page itself: its layout in Gradio, and what its controls do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import gradio as gr
from fastapi import FastAPI

from transformers_foreground.errors import ForegroundError
from transformers_foreground.page.api import add_api
from transformers_foreground.page.choices import choice_of, describe
from transformers_foreground.page.private import LOOPBACK, App, Private
from transformers_foreground.page.results import Result, archive, sweep
from transformers_foreground.page.service import Failure, Note, Service
from transformers_foreground.page.uploads import upload_of

logger = logging.getLogger(__name__)

KEEP_SECONDS: Final = 3600
_SWEEP_SECONDS: Final = 60
_SLIDER_HEIGHT: Final = 520
_HERE: Final = Path(__file__).parent
_TITLE: Final = "Remove the background"
_NONE, _COLOUR, _BLUR, _PICTURE = "Transparent", "Colour", "Blurred", "Picture"
_FONTS: Final = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
_PRIVATE: Final = {"api_visibility": "private", "show_progress": "hidden"}


@contextlib.contextmanager
def application(service: Service, *, loopback: bool) -> Iterator[App]:
    """Give the whole server as an ASGI application, to be run inside this context.

    Args:
        service: What does the work. Uploads and results lie in its folder, and are deleted after a while.
        loopback: Whether it listens on this machine alone, and so is called by no other name.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep_often(service.folder))
        yield
        sweeper.cancel()
        service.close()

    outer = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    with _temporary_files_in(service.folder):
        page = layout(service)
        # Gradio looks whether a file that a call names was uploaded only where this is set, as its launch() does.
        page.has_launched = True
        head = f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>"
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
            head=head,
        )
        yield Private(outer, LOOPBACK if loopback else ())


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have Gradio keep its files in a folder of ours. It asks the environment for it, also at every upload."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before


async def _sweep_often(folder: Path) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(sweep, folder, KEEP_SECONDS)


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
    with gr.Blocks(title=_TITLE, analytics_enabled=False, fill_width=False) as page:
        gr.HTML(_header(service), elem_id="header", padding=False)
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
                status = gr.HTML(_status(), elem_id="status", padding=False)
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

        def show(made: list[Result], index: int) -> tuple[Any, str]:
            return _pair(made[index]), _link(made[index].file)

        page.load(tell, [model, dtype], facts, queue=False, **_PRIVATE)
        model.input(tell_model, model, [dtype, facts], queue=False, **_PRIVATE)
        dtype.input(tell, [model, dtype], facts, queue=False, **_PRIVATE)
        more.click(None, js="() => document.querySelector('#pictures input[type=file]').click()", **_PRIVATE)
        # Not preprocessed: Gradio would make an empty file for each upload, and forget it.
        run = go.click(
            remove,
            [pictures, model, dtype, kind, colour, behind],
            [status, slider, several, one, every, results],
            preprocess=False,
            concurrency_limit=None,
            **_PRIVATE,
        )
        run.then(tell, [model, dtype], facts, queue=False, **_PRIVATE)
        stop.click(_stopped, status, status, cancels=[run], queue=False, **_PRIVATE)
        several.input(show, [results, several], [slider, one], queue=False, **_PRIVATE)
        add_api(service)
    page.queue(max_size=settings.queue, default_concurrency_limit=None)
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
        yield _status("Starting"), None, gr.update(choices=[], value=None), "", "", []
        async for outcome in service.remove(uploads, model, dtype, background):
            if isinstance(outcome, Note):
                yield _status(outcome.text, outcome.share, failed), same, same, same, same, same
            elif isinstance(outcome, Failure):
                failed.append(outcome)
            else:
                made.append(outcome)
                first = (_pair(outcome), _link(outcome.file)) if len(made) == 1 else (same, same)
                yield same, first[0], _several(made), first[1], same, list(made)
        all_of_them: Any = same
        if len(made) > 1:
            all_of_them = _link(await asyncio.to_thread(archive, made), f"Download all {len(made)} (zip)")
        yield _status(_summary(made, failed), None, failed, done=True), same, same, same, all_of_them, same
    except ForegroundError as error:
        yield _status(str(error), None, failed, error=True), same, same, same, same, same
    except Exception:
        logger.exception("A request failed.")
        yield _status("The server failed. Its log says why.", None, failed, error=True), same, same, same, same, same


async def _stopped(status: str | None) -> Any:
    """Say that a request was stopped, after what it said last."""
    await asyncio.sleep(0.5)
    return _status("Stopped.") if 'class="status busy"' in (status or "") else gr.skip()


def _pair(result: Result) -> tuple[str, str]:
    return str(result.before), str(result.after)


def _several(made: Sequence[Result]) -> Any:
    if len(made) < 2:
        return gr.skip()
    names = [(result.name, index) for index, result in enumerate(made)]
    chosen = {"value": 0} if len(made) == 2 else {}  # later on it is the visitor's choice
    return gr.update(choices=names, **chosen)


def _link(file: Path, text: str = "") -> str:
    """Write a link that downloads a file, and looks like a button."""
    address, name = escape(f"gradio_api/file={quote(str(file))}"), escape(file.name)
    return f'<a class="download" href="{address}" download="{name}">{escape(text) or f"Download {name}"}</a>'


def _summary(made: Sequence[Result], failed: Sequence[Failure]) -> str:
    if not failed:
        return "Done." if len(made) == 1 else f"Done: {len(made)} pictures."
    return f"{len(made)} of {len(made) + len(failed)} pictures are done; these are not:"


def _header(service: Service) -> str:
    s = service.settings
    return (
        f"<h1>{_TITLE}</h1><p>Pictures stay on the machine that serves this page, which deletes them, and what it made "
        f"of them, after {KEEP_SECONDS // 60} minutes. Up to {s.max_bytes / 1e6:g} MB and {s.max_pixels / 1e6:g} "
        f'megapixels each.</p><p id="refused" role="alert" data-max-bytes="{s.max_bytes}"></p>'
    )


def _status(
    text: str = "",
    share: float | None = None,
    failed: Sequence[Failure] = (),
    *,
    done: bool = False,
    error: bool = False,
) -> str:
    """Write a line on how things stand, how far they are, and what has failed."""
    at_rest = done or text in ("", "Stopped.")
    kind = "error" if error else "done" if done and not failed else "idle" if at_rest else "busy"
    text = text or "Results will be here: drop, paste or choose pictures, then press the button."
    bar = ""
    if kind == "busy":
        value = "" if share is None else f' value="{share:.3f}"'
        bar = f'<progress max="1"{value} aria-label="Progress"></progress>'
    problems = "".join(f"<li><strong>{escape(f.name)}</strong>: {escape(f.why)}</li>" for f in failed)
    problems = f"<ul>{problems}</ul>" if problems else ""
    return f'<div class="status {kind}"><p>{escape(text)}</p>{bar}{problems}</div>'
