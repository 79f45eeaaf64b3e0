"""Options that are checked while the command line is read, before anything is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from transformers_foreground.errors import ForegroundError

DEFAULT_MODEL = "briaai/RMBG-1.4"


def _refuse_as_usage(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Turn an error of ours about an option's value into one about how the command is used (exit code 2)."""

    def callback(value: Any) -> Any:
        try:
            check(value)
        except ForegroundError as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return callback


def _check_device(value: str) -> None:
    from transformers_foreground.devices import PROVIDERS, resolve_device

    everything = [provider for providers in PROVIDERS.values() for provider in providers]
    resolve_device(value, available=everything)


def _check_dtype(value: str) -> None:
    from transformers_foreground.dtypes import resolve_dtype

    resolve_dtype(value, "cpu")


def _check_resampling(value: str | None) -> None:
    if value is not None:
        from transformers_foreground.preprocessing import Processing

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


def _models() -> list[str]:
    from transformers_foreground.cards import cards

    return [card.id for card in cards()]


def _devices() -> list[str]:
    from transformers_foreground.devices import PROVIDERS

    return list(PROVIDERS)


def _dtypes() -> list[str]:
    from transformers_foreground.dtypes import SUFFIXES

    return ["auto", *SUFFIXES]


def _resamplings() -> list[str]:
    from transformers_foreground.resampling import RESAMPLINGS

    return list(RESAMPLINGS)


def _refinements() -> list[str]:
    from transformers_foreground.refinement import METHODS

    return list(METHODS)


def _formats() -> list[str]:
    from transformers_foreground.formats import KINDS

    return list(KINDS)


RESULT, MANY, MODEL = "What the result is", "Many pictures", "The model"
BackgroundOption = Annotated[
    str | None,
    typer.Option("--background", "-b", help="A colour (white, #ff8800), a picture, or blur.", rich_help_panel=RESULT),
]
RefineOption = Annotated[
    str | None,
    typer.Option(
        help="Decide edges anew: guided, or closed-form (slow; extra \\[matting]).",
        autocompletion=_refinements,
        rich_help_panel=RESULT,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="png (default), webp, tiff, avif, or jpeg (with a background).",
        autocompletion=_formats,
        rich_help_panel=RESULT,
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="Model id, or a folder.", autocompletion=_models, show_default=True, rich_help_panel=MODEL
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="cpu, auto, gpu, cuda, openvino, webgpu, dml, coreml, wasm, ...",
        callback=_refuse_as_usage(_check_device),
        autocompletion=_devices,
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
LocalFilesOnlyOption = Annotated[
    bool, typer.Option("--local-files-only", help="Never open a connection.", rich_help_panel=MODEL)
]
YesOption = Annotated[
    bool, typer.Option("--yes", "-y", help="Download a model of any size without asking.", rich_help_panel=MODEL)
]
ModelArgument = Annotated[str, typer.Argument(help="Model id.", autocompletion=_models)]
