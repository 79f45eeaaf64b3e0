"""The same for programs: the endpoint `/remove_background`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from transformers_foreground.composition import colour_of
from transformers_foreground.errors import ForegroundError, UnsupportedOptionError
from transformers_foreground.page.results import Result
from transformers_foreground.page.service import Failure, Service
from transformers_foreground.page.uploads import upload_of


def add_api(service: Service) -> None:
    """Add the endpoint to the page that is being laid out."""

    async def remove_background(
        picture: dict[str, Any],
        background: str | dict[str, Any] | None = None,
        model: str = "",
        dtype: str = "",
    ) -> dict[str, Any]:
        """Remove a picture's background.

        Args:
            picture: An uploaded file: `gradio_client.handle_file("photo.jpg")`.
            background: None for a transparent one, a colour such as "white" or "#ff8800", "blur", or a picture.
            model: Id of a model that the page offers. Empty for the server's own.
            dtype: One of that model's dtypes. Empty for the server's own.

        Returns:
            A PNG file.
        """
        try:
            upload, behind = upload_of(picture, service.folder), _background(background, service)
            result = None
            async for result in service.remove([upload], model, dtype, behind):
                if isinstance(result, Failure):
                    raise ForegroundError(result.why)
        except ForegroundError as error:
            raise gr.Error(str(error), print_exception=False) from error
        assert isinstance(result, Result)
        size = result.file.stat().st_size
        told = gr.FileData(path=str(result.file), orig_name=result.file.name, mime_type="image/png", size=size)
        return dict(told.model_dump())

    gr.api(remove_background, api_name="remove_background", concurrency_limit=None)


def _background(given: Any, service: Service) -> Any:
    if given is None or given == "":
        return None
    if isinstance(given, str):
        # Text is never a path here: nobody may read the server's files.
        if given != "blur" and colour_of(given) is None:
            raise UnsupportedOptionError(f"background={given[:80]!r}: use a colour, 'blur' or an uploaded picture.")
        return given
    return upload_of(given, service.folder)
