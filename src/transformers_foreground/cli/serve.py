"""`foreground serve`: a page in the browser, and an API for programs."""

from __future__ import annotations

import logging
import os
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
    YesOption,
)
from transformers_foreground.env import env
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
    max_disk: Annotated[float, typer.Option(min=1, help="Megabytes that uploads and results may take.")] = 5000,
    server_name: Annotated[
        list[str] | None, typer.Option(help="Name that a proxy or others call this server by; may be repeated.")
    ] = None,
    local_files_only: LocalFilesOnlyOption = False,
    yes: YesOption = False,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Show a page in the browser where pictures are dropped and cut out, on this machine.

    It loads nothing from elsewhere. A model is downloaded with the first picture that needs it.

    Programs use the same server: /remove_background, as docs/page.md shows.

    With another --host, everyone who reaches the port can use it: there is no password.
    """
    from transformers_foreground.page.surroundings import gradio_in

    with tempfile.TemporaryDirectory(prefix="foreground-page-") as name, gradio_in(folder := Path(name).resolve()):
        from transformers_foreground.extras import need

        need("gradio", "demo", "foreground serve")
        from transformers_foreground.page.app import application
        from transformers_foreground.page.callers import names_of
        from transformers_foreground.page.service import Service, Settings

        if yes:
            env.max_model_bytes = None
        limits = (int(max_size * 1e6), max_pixels, queue, int(max_disk * 1e6))
        with _listening(host, port) as listener, warnings.catch_warnings():
            service = Service(Settings(model, device, dtype, *limits, local_files_only), folder)
            app = application(service, names_of(host, server_name or ()))
            url = _url(host, listener.getsockname()[1])
            say(f"The page is {url} (Ctrl-C ends it)")
            if open_browser:
                webbrowser.open(url)
            # Gradio uses a name that Starlette is giving up; that is no news for who runs this command.
            warnings.filterwarnings("ignore", message=".*HTTP_422", module="gradio")
            _run(app, listener)


def _run(app: Any, listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import uvicorn

    from transformers_foreground.page.connections import MAX_CONNECTIONS, Impatient

    _allow_files()
    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        log_level="warning",
        access_log=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    # Pages that are open hold their connections, which is nothing to complain of at the end.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder is deleted then, too
    server.run(sockets=[listener])


def _allow_files() -> None:
    """Allow as many open files as connections and uploads at once may need; many systems allow 1024 at first."""
    if os.name == "posix":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
