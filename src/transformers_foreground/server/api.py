"""The same for programs: the endpoint `/remove_background`."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import gradio as gr

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.compositing.backgrounds import colour_of
from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.server.disk import FULL
from transformers_foreground.server.results import clean_stem
from transformers_foreground.server.service import Service
from transformers_foreground.server.uploads import upload_of
from transformers_foreground.server.wanted import Wanted, made


def add_api(service: Service) -> None:
    """Add the endpoint to the page that is being laid out."""

    async def remove_background(
        image: dict[str, Any],
        background: str | dict[str, Any] | None = None,
        model: str = "",
        dtype: str = "",
    ) -> dict[str, Any]:
        """Remove an image's background.

        Args:
            image: An uploaded file: `gradio_client.handle_file("photo.jpg")`.
            background: None for a transparent one, a colour such as "white" or "#ff8800", "blur", or an image.
            model: Id of a model that the page offers. Empty for the server's own.
            dtype: One of that model's dtypes. Empty for the server's own.

        Returns:
            A PNG file.
        """
        try:
            upload, behind = upload_of(image, service.folder), _background(background, service)
            answer = await made(service, Wanted(upload, model, behind, dtype=dtype), _never)
            if not service.disk.make_room():
                raise ForegroundError(FULL)
        except ForegroundError as error:
            raise gr.Error(str(error), print_exception=False) from error
        file = service.folder / secrets.token_hex(16) / f"{clean_stem(upload.name)}.cutout.png"
        await asyncio.to_thread(write_whole, file, answer.data)
        service.disk.take_files([file])
        told = gr.FileData(path=str(file), orig_name=file.name, mime_type="image/png", size=len(answer.data))
        return dict(told.model_dump())

    gr.api(remove_background, api_name="remove_background", concurrency_limit=None)


async def _never() -> bool:  # Gradio cancels the calls of those who leave
    return False


def _background(given: Any, service: Service) -> Any:
    if given is None or given == "":
        return None
    if isinstance(given, str):
        # Text is never a path here: nobody may read the server's files.
        if given != "blur" and colour_of(given) is None:
            raise UnsupportedOptionError(f"background={given[:80]!r}: use a colour, 'blur' or an uploaded image.")
        return given
    return upload_of(given, service.folder)
