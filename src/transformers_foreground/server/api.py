"""The endpoint `/remove_background` of the page's server, for programs that use `gradio_client`."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import gradio as gr

from transformers_foreground.atomic_write import write_whole
from transformers_foreground.errors import ForegroundError
from transformers_foreground.server.results import clean_stem
from transformers_foreground.server.service import Service
from transformers_foreground.server.uploads import background_of, upload_of
from transformers_foreground.server.wanted import Wanted, cut_out


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
            background: None for a transparent one, a colour such as "white" or "#ff8800", "blur", or an uploaded image.
            model: Id of a model that the page offers. Empty for the server's own.
            dtype: One of that model's dtypes. Empty for the server's own.

        Returns:
            A PNG file.
        """
        try:
            upload, behind = upload_of(image, service.folder), background_of(background, service.folder)
            # Nobody asks whether the caller has left: Gradio cancels the calls of those who have.
            data = (await cut_out(service, Wanted(upload, model, behind, dtype=dtype))).data
            file = service.folder / secrets.token_hex(16) / f"{clean_stem(upload.name)}.cutout.png"

            def write() -> None:
                service.disk.need_room()
                write_whole(file, data)
                service.disk.take_files([file])

            await asyncio.to_thread(write)
        except ForegroundError as error:
            raise gr.Error(str(error), print_exception=False) from error
        answer = gr.FileData(path=str(file), orig_name=file.name, mime_type="image/png", size=len(data))
        return dict(answer.model_dump())

    gr.api(remove_background, api_name="remove_background", concurrency_limit=None)
