"""The page in Gradio: its layout, and which action each control calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import gradio as gr
from fastapi import FastAPI

from transformers_foreground.server.actions import (
    BLUR,
    COLOUR,
    CROP,
    IMAGE,
    KINDS,
    NONE,
    SHADOW,
    SIZES,
    SQUARE,
    Actions,
)
from transformers_foreground.server.api import add_api
from transformers_foreground.server.callers import Names
from transformers_foreground.server.choices import dtype_titles
from transformers_foreground.server.cleanup import running
from transformers_foreground.server.downloads import Downloads
from transformers_foreground.server.guard import Guard
from transformers_foreground.server.http_api import add_documented_routes
from transformers_foreground.server.markup import TITLE, header, status
from transformers_foreground.server.service import Service
from transformers_foreground.server.touchup import ERASE, RESTORE

_SESSIONS: Final = 500  # Gradio keeps a copy of the whole page for each, and by default for 10,000
_SLIDER_HEIGHT: Final = 520
_HERE: Final = Path(__file__).parent
_FONTS: Final = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
_BRUSHES: Final = "<p>Paint green to restore, red to erase. Undo is at the top of the image.</p>"
_PRIVATE: Final = {"api_visibility": "private", "show_progress": "hidden"}


def application(service: Service, names: Names) -> Guard:
    """Make the whole server, page and API, as an ASGI application.

    Make and run it inside `environment.gradio_in`.

    Args:
        service: Does the work. Uploads and results are in its folder, and are deleted after a while.
        names: Host names that the server answers to.
    """
    downloads = Downloads(service)
    page = layout(service, downloads)
    outer = FastAPI(lifespan=lambda _: running(service, page), docs_url=None, redoc_url=None, openapi_url=None)
    add_documented_routes(outer, service)
    downloads.add_routes(outer)
    # As its launch() does: without it Gradio does not check that the files which a call names were uploaded.
    page.has_launched = True
    page.state_session_capacity = _SESSIONS
    gr.mount_gradio_app(
        outer,
        page,
        path="/",
        footer_links=[],
        max_file_size=service.settings.max_bytes,
        show_error=False,  # unexpected errors may name the server's folders
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=_theme(),
        css_paths=[_HERE / "style.css"],
        head=f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>",
    )
    return Guard(outer, names, service.disk, service.settings.max_bytes, service.memory)


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


def layout(service: Service, downloads: Downloads) -> Any:
    """Lay out the page, and connect its controls to their actions."""
    settings, first, act = service.settings, service.choices[0], Actions(service, downloads)
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=False) as page:
        gr.HTML(header(settings), elem_id="header", padding=False)
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="given", min_width=300, scale=5):
                images = gr.File(
                    label="Images: drop, paste or choose",
                    file_count="multiple",
                    elem_id="images",
                    height=150,
                )
                more = gr.Button("Choose images", size="sm", elem_id="more")
                kind = gr.Radio([NONE, COLOUR, BLUR, IMAGE], value=NONE, label="New background", elem_id="kind")
                colour = gr.ColorPicker("#ffffff", label="Background colour", elem_id="colour")
                behind = gr.File(label="Background image", elem_id="behind", height=120)
                finish = gr.CheckboxGroup([CROP, SQUARE, SHADOW], label="Finish", elem_id="finish")
                with gr.Row(elem_id="output"):
                    file_type = gr.Radio(list(KINDS), value="PNG", label="File type", elem_id="filetype", scale=3)
                    size = gr.Dropdown(SIZES, value=0, label="Longer side", elem_id="size", min_width=130, scale=2)
                with gr.Accordion("Advanced", open=False, elem_id="advanced"):
                    titles = [(choice.title, choice.id) for choice in service.choices]
                    model = gr.Dropdown(titles, value=first.id, label="Model")
                    dtype = gr.Dropdown(dtype_titles(first), value=settings.dtype, label="Precision")
                facts = gr.HTML(elem_id="facts", padding=False)
                with gr.Row(elem_id="buttons"):
                    go = gr.Button("Remove background", variant="primary", elem_id="go", scale=3)
                    stop = gr.Button("Stop", elem_id="stop", scale=1, min_width=70)
            with gr.Column(elem_id="made", min_width=300, scale=7):
                state = gr.HTML(status(), elem_id="status", padding=False)
                slider = gr.ImageSlider(
                    label="Before and after",
                    show_label=False,
                    elem_id="slider",
                    interactive=False,
                    max_height=_SLIDER_HEIGHT,
                    buttons=[],
                )
                links = gr.HTML(elem_id="links", padding=False)
                by_doubt = gr.Checkbox(label="Most doubtful first", elem_id="doubtful")
                gallery = gr.Gallery(
                    label="Results",
                    show_label=False,
                    elem_id="several",
                    columns=4,
                    allow_preview=False,
                    interactive=False,
                    object_fit="contain",
                    height="auto",
                    buttons=[],
                )
                with gr.Accordion("Touch up", open=False, elem_id="touch") as touch:
                    gr.HTML(_BRUSHES, padding=False)
                    editor = gr.ImageEditor(
                        label="Touch up",
                        show_label=False,
                        elem_id="editor",
                        sources=(),
                        transforms=(),
                        layers=False,
                        brush=gr.Brush(default_size=24, colors=[RESTORE, ERASE], color_mode="fixed"),
                        buttons=[],
                        interactive=True,
                        height=_SLIDER_HEIGHT,
                    )
                    with gr.Row():
                        apply = gr.Button("Apply", elem_id="apply", min_width=90)
                        over = gr.Button("Start over", elem_id="over", min_width=90)
                    painted = gr.HTML(elem_id="painted", padding=False)
        results, shown = gr.State([]), gr.State(0)
        look = [kind, colour, behind, finish, size, file_type]

        page.load(act.facts, [model, dtype], facts, queue=False, **_PRIVATE)
        model.input(act.choose_model, model, [dtype, facts], queue=False, **_PRIVATE)
        dtype.input(act.facts, [model, dtype], facts, queue=False, **_PRIVATE)
        more.click(None, js="() => document.querySelector('#images input[type=file]').click()", **_PRIVATE)
        # Not preprocessed: Gradio would make an empty file for each upload, and forget it. Only this call is in
        # Gradio's queue: the page can lose the answer of a call that joins the queue while another one leaves it.
        run = go.click(
            act.remove,
            [images, model, dtype, by_doubt, *look],
            [state, slider, gallery, links, results, shown],
            preprocess=False,
            concurrency_limit=None,
            **_PRIVATE,
        )
        now: dict[str, Any] = {"preprocess": False, "queue": False, **_PRIVATE}
        changed = gr.on(
            [kind.input, colour.change, behind.upload, finish.input, size.input, file_type.input],
            act.restyle,
            [results, shown, *look],
            [slider, links],
            trigger_mode="always_last",
            **now,
        )
        stopped = stop.click(act.stopped, state, state, cancels=[run], queue=False, **_PRIVATE)
        # Again, since a status that was on its way may have arrived after the first time.
        again = stopped.then(act.stopped, state, state, queue=False, **_PRIVATE)
        run.then(act.facts, [model, dtype], facts, queue=False, **_PRIVATE)
        for ended in (run, again):
            ended.then(act.settle, [results, shown, *look], [slider, links], **now)
        for event in (run.then, again.then, changed.then, by_doubt.input):
            event(act.rethumb, [results, by_doubt, *look], gallery, **now)
        gallery.select(act.show, [results, by_doubt, *look], [slider, links, shown], **now)
        again_shown = (act.restyle, [results, shown, *look], [slider, links])
        touch.expand(act.paint, [results, shown], [editor, painted], **now)
        applied = apply.click(act.apply, [editor, results, shown], [results, painted], **now)
        reset = over.click(act.start_over, [results, shown], results, **now)
        for event in (applied.then, reset.then):
            event(*again_shown, **now).then(act.paint, [results, shown], [editor, painted], **now).then(
                act.rethumb, [results, by_doubt, *look], gallery, **now
            )
        add_api(service)
    # Not open to calls outside of the queue: they would go on when their caller leaves.
    page.queue(max_size=settings.queue, default_concurrency_limit=None, api_open=False)
    return page
