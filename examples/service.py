"""A web service: send an image, get its cut-out as PNG.

    python examples/service.py --model imgly/isnet-general-use
    curl -F image=@photo.jpg http://127.0.0.1:8000/cutout > cutout.png

All requests share one session, first come, first served, and the event loop stays free. Start one process: each would
open the model, and they would fight for the same cores. `/docs` has a form to try it with.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from transformers_foreground import ForegroundError, cutout, pipeline
from transformers_foreground.errors import ImageError
from transformers_foreground.images.encode import encode

MAX_BYTES = 20_000_000
ANSWERS: Any = {200: {"content": {"image/png": {}}}, "default": {"description": '{"error": "what is wrong"}'}}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.segmenter:
        yield


app = FastAPI(title="Cut-outs", lifespan=lifespan)


@app.middleware("http")
async def limit_uploads(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a large upload by its header, before a byte of it is read; the server holds the body to that length."""
    length = request.headers.get("content-length", "")
    if request.method == "POST" and not length.isdecimal():
        return JSONResponse({"error": "Send the upload with a Content-Length."}, 411)
    if request.method == "POST" and int(length) > MAX_BYTES:
        return JSONResponse({"error": f"The upload has {length} bytes; the limit is {MAX_BYTES}."}, 413)
    return await call_next(request)


@app.exception_handler(RequestValidationError)  # not the form that is asked for
@app.exception_handler(HTTPException)  # no such address
@app.exception_handler(ForegroundError)
async def tell(_: Request, error: Any) -> JSONResponse:
    """Send the message: an image that cannot be read is the client's affair, anything else of ours is not."""
    if isinstance(error, RequestValidationError):
        error = HTTPException(422, "; ".join(f"{wrong['loc'][-1]}: {wrong['msg']}" for wrong in error.errors()))
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    return JSONResponse({"error": str(error)}, 422 if isinstance(error, ImageError) else 503)


@app.post("/cutout", response_class=Response, responses=ANSWERS)
async def cut_out(request: Request, image: UploadFile, crop: bool = False) -> Response:
    # Never a str: that would be taken for a path or a URL of the client's choice. The name is for messages only.
    upload = {"bytes": await image.read(), "path": image.filename}
    mask = await request.app.state.segmenter.acall(upload, return_mask=True)
    png = await asyncio.to_thread(lambda: encode(cutout(upload, mask, crop=crop), "png"))
    return Response(png, media_type="image/png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.environ.get("FOREGROUND_MODEL", "briaai/RMBG-1.4"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)

    import uvicorn  # here, so that --help does not wait for it

    app.state.segmenter = pipeline("image-segmentation", options.model)
    uvicorn.run(app, host=options.host, port=options.port, limit_concurrency=64)


if __name__ == "__main__":
    try:
        main()
    except ForegroundError as error:
        sys.exit(f"error: {error}")
