"""Options that are checked while the command line is read, before anything is downloaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from transformers_foreground.env import env
from transformers_foreground.errors import ForegroundError

DEFAULT_MODEL = "briaai/RMBG-1.4"


def chosen_model(model: str | None) -> str:
    """Return the model of `--model`, else of `FOREGROUND_MODEL`, else the default."""
    return model or env.default_model or DEFAULT_MODEL


def _refuse_as_usage(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Turn this package's error about an option's value into an error of the command's usage (exit code 2)."""

    def callback(value: Any) -> Any:
        try:
            check(value)
        except ForegroundError as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return callback


def finite(value: float) -> float:
    """Refuse infinity and NaN, which are within any range that typer checks.

    Raises:
        typer.BadParameter: It is one of them.
    """
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number that counts.")
    return value


def _check_device(value: str | None) -> None:
    if value is None:
        return
    from transformers_foreground.runtime.devices import PROVIDERS, resolve_device

    everything = [provider for providers in PROVIDERS.values() for provider in providers]
    resolve_device(value, available=everything)


def _check_dtype(value: str) -> None:
    from transformers_foreground.hub.dtypes import resolve_dtype

    resolve_dtype(value, "cpu")


def _check_resampling(value: str | None) -> None:
    if value is not None:
        from transformers_foreground.runtime.processing import Processing

        Processing(resampling=value)


def check_dtypes(values: list[str] | None) -> None:
    """Check the values of a `--dtype` that may be repeated, before anything is downloaded.

    Raises:
        typer.BadParameter: One is unknown.
    """
    try:
        for value in values or []:
            _check_dtype(value)
    except ForegroundError as error:
        raise typer.BadParameter(str(error), param_hint="'--dtype'") from error


def _use_models_dir(folder: Path | None) -> Path | None:
    if folder is not None:
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is not a folder.")
        env.local_model_path = folder
    return folder


def _models() -> list[str]:
    from transformers_foreground.hub.known_models import known_models

    return [card.id for card in known_models()]


def _devices() -> list[str]:
    from transformers_foreground.runtime.devices import PROVIDERS

    return list(PROVIDERS)


def _dtypes() -> list[str]:
    from transformers_foreground.hub.dtypes import DTYPES

    return ["auto", *DTYPES]


def _resamplings() -> list[str]:
    from transformers_foreground.runtime.resampling import RESAMPLINGS

    return list(RESAMPLINGS)


def _formats() -> list[str]:
    from transformers_foreground.images.encode import KINDS

    return list(KINDS)


def share(text: str) -> float:
    """Read a share: 0.5, or 50%."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: use a share, such as 0.5 or 50%.") from None


RESULT = partial(typer.Option, rich_help_panel="The result")
MASK = partial(typer.Option, rich_help_panel="The mask")
MANY = partial(typer.Option, rich_help_panel="Many images")
MODEL = partial(typer.Option, rich_help_panel="The model")
BackgroundOption = Annotated[
    str | None, RESULT("--background", "-b", help="A colour (white, #ff8800), an image, or blur.")
]
FormatOption = Annotated[
    str | None,
    RESULT(
        "--format",
        help="png (default), webp, tiff, avif, jpeg (with a background), gif (with --animate).",
        autocompletion=_formats,
    ),
]
ModelOption = Annotated[
    str | None,
    MODEL(
        "--model",
        "-m",
        help="Model id, or a folder.",
        autocompletion=_models,
        show_default=f"FOREGROUND_MODEL, or {DEFAULT_MODEL}",
    ),
]
ModelsDirOption = Annotated[
    Path | None,
    MODEL(
        "--models-dir",
        metavar="FOLDER",
        help="The folder of local models.",
        callback=_use_models_dir,
        show_default="FOREGROUND_MODELS, or ./models",
    ),
]
DeviceOption = Annotated[
    str | None,
    MODEL(
        help="cpu, auto, gpu, cuda, openvino, webgpu, dml, coreml, wasm, ...",
        callback=_refuse_as_usage(_check_device),
        autocompletion=_devices,
        show_default="FOREGROUND_DEVICE, or auto: the fastest safe engine that is installed",
    ),
]
DtypeOption = Annotated[
    str,
    MODEL(help="auto, fp32, fp16, q8, int8, ...", callback=_refuse_as_usage(_check_dtype), autocompletion=_dtypes),
]
DtypesOption = Annotated[
    list[str] | None, typer.Option("--dtype", help="Only this dtype; may be repeated.", autocompletion=_dtypes)
]
ResamplingOption = Annotated[
    str | None,
    MODEL(
        help="transformers.js (default), canvas, antialias or bria.",
        callback=_refuse_as_usage(_check_resampling),
        autocompletion=_resamplings,
    ),
]
RevisionOption = Annotated[str | None, MODEL("--revision", help="Branch, tag or commit of the model.")]
LocalFilesOnlyOption = Annotated[bool, MODEL("--local-files-only", help="Never connect to the network.")]
YesOption = Annotated[bool, MODEL("--yes", "-y", help="Download a model of any size without asking.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and warnings.")]
ModelArgument = Annotated[str, typer.Argument(help="Model id.", autocompletion=_models)]
