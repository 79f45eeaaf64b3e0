"""`foreground serve`: a page in the browser, and an API for programs."""

from __future__ import annotations

import logging
import os
import signal
import socket
import warnings
import webbrowser
from typing import Annotated, Any

import typer

from transformers_foreground.cli.console import say
from transformers_foreground.cli.options import (
    DeviceOption,
    DtypeOption,
    LocalFilesOnlyOption,
    ModelOption,
    ModelsDirOption,
    YesOption,
    chosen_model,
    finite,
)
from transformers_foreground.cli.signals import ended_in_order
from transformers_foreground.env import env
from transformers_foreground.errors import ForegroundError
from transformers_foreground.extras import need


def serve(
    model: ModelOption = None,
    models_dir: ModelsDirOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 7860,
    max_size: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="Largest file of an image, in megabytes.")
    ] = 50,
    max_pixels: Annotated[int, typer.Option(min=1, help="Most pixels of an image.")] = 100_000_000,
    queue: Annotated[int, typer.Option(min=1, help="Most requests that run or wait.")] = 20,
    max_disk: Annotated[
        float,
        typer.Option(min=1, callback=finite, help="Most disk space for uploads and results, in megabytes."),
    ] = 5000,
    server_name: Annotated[
        list[str] | None, typer.Option(help="Host name by which clients or a proxy reach this server; may be repeated.")
    ] = None,
    local_files_only: LocalFilesOnlyOption = False,
    yes: YesOption = False,
    api_only: Annotated[
        bool, typer.Option("--api-only", help="Serve the HTTP API without the page; needs no Gradio.")
    ] = False,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="FOREGROUND_API_KEY",
            show_envvar=True,
            help="Key that callers of the API must send as X-Api-Key; may be repeated. With --api-only.",
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page on which images are dropped and cut out, on this machine.

    The page loads nothing from elsewhere. A model is downloaded with the first image that needs it.

    Programs use the same server, also clients of remove.bg (/v1.0/removebg) and of rembg (/api/remove): see its /docs.

    With another --host, everyone who reaches the port can use it: there is no password.
    """
    if api_key and not api_only:
        raise typer.BadParameter("--api-key needs --api-only: whoever reaches the page can use it without a key.")
    from transformers_foreground.server.environment import gradio_in
    from transformers_foreground.temporary import temporary_folder

    with ended_in_order(code=0), temporary_folder() as folder, gradio_in(folder):
        for module in ("fastapi", "uvicorn", "python_multipart", *(() if api_only else ("gradio",))):
            need(module, "server" if api_only else "demo", "foreground serve")
        from transformers_foreground.server.callers import names_of
        from transformers_foreground.server.progress import Settings
        from transformers_foreground.server.service import Service

        if yes:
            env.max_model_bytes = None
        env.allow_private_urls = False  # callers name URLs of images
        limits = (int(max_size * 1e6), max_pixels, queue, int(max_disk * 1e6))
        with _listening(host, port) as listener, warnings.catch_warnings():
            chosen = Settings(chosen_model(model), device or env.default_device, dtype, *limits, local_files_only)
            service = Service(chosen, folder)
            names = names_of(host, server_name or ())
            url = _url(host, listener.getsockname()[1])
            if api_only:
                from transformers_foreground.server.http_api import api_application

                app = api_application(service, names, tuple(api_key or ()))
                say(f"The API is {url}, described at {url}/docs (Ctrl-C ends it)")
            else:
                from transformers_foreground.server.app import application

                app = application(service, names)
                say(f"The page is {url} (Ctrl-C ends it)")
            if open_browser:
                webbrowser.open(url)
            # Gradio uses a name that Starlette deprecates, which the user can do nothing about.
            warnings.filterwarnings("ignore", message=".*HTTP_422", module="gradio")
            _run(app, listener)


def _run(app: Any, listener: socket.socket) -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP."""
    import uvicorn

    from transformers_foreground.server.connections import MAX_CONNECTIONS, Impatient

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
    # Open pages hold their connections: uvicorn need not log that at the end.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run(sockets=[listener])


def _allow_files() -> None:
    """Raise the limit of open files for many connections and uploads; many systems allow 1024 at first."""
    if os.name == "posix":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listening(host: str, port: int) -> Any:
    """Listen at once, so that a port in use is an error before anything else is done."""
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
