"""`foreground serve`: a page in the browser, and an API for programs."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import tempfile
import warnings
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from transformers_foreground.cli.console import say
from transformers_foreground.cli.options import (
    DEFAULT_MODEL,
    DeviceOption,
    DtypeOption,
    LocalFilesOnlyOption,
    ModelOption,
)
from transformers_foreground.errors import ForegroundError


def serve(
    model: ModelOption = DEFAULT_MODEL,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 7860,
    max_size: Annotated[float, typer.Option(min=0.1, help="Megabytes that a picture's file may have.")] = 50,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pixels that a picture may have.")] = 100_000_000,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may be under way or wait.")] = 20,
    local_files_only: LocalFilesOnlyOption = False,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Show a page in the browser where pictures are dropped and cut out, on this machine.

    It loads nothing from elsewhere. A model is downloaded with the first picture that needs it.

    Programs use the same server: /remove_background, as the README shows.

    With another --host, everyone who reaches the port can use it: there is no password.
    """
    from transformers_foreground.extras import need

    need("gradio", "demo", "foreground serve")
    import uvicorn

    from transformers_foreground.page.app import application
    from transformers_foreground.page.service import Service, Settings

    settings = Settings(model, device, dtype, int(max_size * 1e6), max_pixels, queue, local_files_only)
    with _listening(host, port) as listener, tempfile.TemporaryDirectory(prefix="foreground-page-") as folder:
        service = Service(settings, Path(folder).resolve())
        loopback = host in ("127.0.0.1", "localhost", "::1")
        with warnings.catch_warnings(), application(service, loopback=loopback) as app:
            url = _url(host, listener.getsockname()[1])
            say(f"The page is {url} (Ctrl-C ends it)")
            if open_browser:
                webbrowser.open(url)
            # Gradio uses a name that Starlette is giving up; that is no news for who runs this command.
            warnings.filterwarnings("ignore", message=".*HTTP_422", module="gradio")
            config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
            server = uvicorn.Server(config)
            # Pages that are open hold their connections, which is nothing to complain of at the end.
            logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder is deleted then, too
            server.run(sockets=[listener])


def _listening(host: str, port: int) -> Any:
    """Listen at once, so that a port that is taken is told before anything else is done."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ForegroundError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}. Give another --port (0 takes a free "
            "one) or --host."
        ) from error


def _url(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"
