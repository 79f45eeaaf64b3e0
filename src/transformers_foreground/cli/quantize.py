"""`foreground quantize MODEL --images FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transformers_foreground.cli.console import say, working
from transformers_foreground.cli.options import ModelArgument


def _clip(value: str) -> str:
    if value not in ("auto", "percentile", "mse", "max"):
        raise typer.BadParameter("use auto, percentile, mse or max.")
    return value


def quantize(
    model: ModelArgument,
    images: Annotated[
        list[str], typer.Option("--images", help="Folder of photos, or a dataset's name, to calibrate on; repeatable.")
    ],
    count: Annotated[int, typer.Option(min=8, help="How many photos to calibrate on.")] = 32,
    method: Annotated[
        str, typer.Option(help="How to clip activations: auto, percentile, mse or max.", callback=_clip)
    ] = "auto",
    percentile: Annotated[float, typer.Option(min=50, max=100, help="For --method percentile.")] = 99.95,
    keep_float: Annotated[
        str, typer.Option(help="Parts of the graph to leave in fp32: auto, how many, or names with commas.")
    ] = "auto",
    evaluate: Annotated[
        list[str] | None,
        typer.Option(help="Folder of photos (with true masks in gt/ beside im/, or none) to judge by; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; onnx/model_int8.onnx of the model by default.")
    ] = None,
) -> None:
    """Make a faster int8 file of a model, and measure how far from fp32 it is."""
    from transformers_foreground.quantization.plan import Method
    from transformers_foreground.quantization.report import table
    from transformers_foreground.quantization.run import quantize as run

    with working() as tell:
        outcome = run(
            model,
            images,
            count=count,
            method=None if method == "auto" else Method(clip=method, percent=percentile),
            keep_float=keep_float,
            evaluate=evaluate or (),
            output=output,
            say=tell,
        )
    typer.echo(table(outcome))
    if outcome.safe:
        say("It keeps the bounds: dtype='auto' may choose it.", "green")
    else:
        say(f"It does not keep the bounds ({'; '.join(outcome.chosen.unkept)}): only dtype='int8' loads it.", "yellow")
