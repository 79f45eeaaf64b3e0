"""Options that are checked while the command line is read, before anything is downloaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from transformers_foreground.env import env
from transformers_foreground.errors import ForegroundError

DEFAULT_MODEL = "briaai/RMBG-1.4"


def chosen_model(model: str | None) -> str:
    """Return the model that `--model` names; else the one that `FOREGROUND_MODEL` names; else the default."""
    return model or env.default_model or DEFAULT_MODEL


def _refuse_as_usage(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Turn an error of ours about an option's value into one about how the command is used (exit code 2)."""

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
    """Check the values of `--dtype` where it may be given again: typer 0.15 takes no callback for such an option.

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


RESULT, MASK, MANY, MODEL = "What the result is", "What becomes of the mask", "Many images", "The model"
BackgroundOption = Annotated[
    str | None,
    typer.Option("--background", "-b", help="A colour (white, #ff8800), an image, or blur.", rich_help_panel=RESULT),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="png (default), webp, tiff, avif, jpeg (with a background), gif (with --animate).",
        autocompletion=_formats,
        rich_help_panel=RESULT,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Model id, or a folder.",
        autocompletion=_models,
        show_default=f"FOREGROUND_MODEL, or {DEFAULT_MODEL}",
        rich_help_panel=MODEL,
    ),
]
ModelsDirOption = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        metavar="FOLDER",
        help="Look for models there, too.",
        callback=_use_models_dir,
        show_default="FOREGROUND_MODELS, or ./models",
        rich_help_panel=MODEL,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        help="cpu, auto, gpu, cuda, openvino, webgpu, dml, coreml, wasm, ...",
        callback=_refuse_as_usage(_check_device),
        autocompletion=_devices,
        show_default="FOREGROUND_DEVICE, or auto: the fastest safe engine that is installed",
        rich_help_panel=MODEL,
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="auto, fp32, fp16, q8, int8, ...",
        callback=_refuse_as_usage(_check_dtype),
        autocompletion=_dtypes,
        rich_help_panel=MODEL,
    ),
]
DtypesOption = Annotated[
    list[str] | None, typer.Option("--dtype", help="Only this dtype; may be given again.", autocompletion=_dtypes)
]
ResamplingOption = Annotated[
    str | None,
    typer.Option(
        help="transformers.js (default), canvas, antialias or bria.",
        callback=_refuse_as_usage(_check_resampling),
        autocompletion=_resamplings,
        rich_help_panel=MODEL,
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of the model.", rich_help_panel=MODEL)
]
LocalFilesOnlyOption = Annotated[
    bool, typer.Option("--local-files-only", help="Never open a connection.", rich_help_panel=MODEL)
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Download a model of any size without asking.", rich_help_panel=MODEL)
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and warnings.")]
ModelArgument = Annotated[str, typer.Argument(help="Model id.", autocompletion=_models)]
