"""The root of the command; `foreground photo.jpg` means `foreground cutout photo.jpg`."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from transformers_foreground.cli import cutout, evaluate, info, map, models, quantize, serve
from transformers_foreground.cli.console import complain, one_line, plain_messages, say
from transformers_foreground.cli.loading import LINE
from transformers_foreground.cli.signals import ended_in_order
from transformers_foreground.env import __version__
from transformers_foreground.errors import ForegroundError

DEFAULT_COMMAND = "cutout"


@contextmanager
def _visible_usage_errors() -> Iterator[None]:
    """Escape control characters of file names in usage errors, also in those that typer itself shows."""
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            vars(error)["message"] = one_line(message)
        raise


def _is_word(text: str) -> bool:
    """Whether this must be meant as a command: a word without a suffix or a slash, and no file of that name."""
    return text[:1].isalpha() and text.replace("-", "").replace("_", "").isalpha() and not os.path.lexists(text)


class _Root(TyperGroup):
    """A group whose default subcommand gets all arguments, unless the first is a subcommand or the root's option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[LINE] = list(args)
        with _visible_usage_errors():
            return super().parse_args(ctx, self._with_command(ctx, args))

    def _with_command(self, ctx: Any, args: list[str]) -> list[str]:
        own = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if args and args[0] not in self.commands and args[0].partition("=")[0] not in own:
            if _is_word(args[0]):
                ctx.fail(f"There is no file or folder {args[0]!r}, nor such a command. {self._hint(args)}")
            return [DEFAULT_COMMAND, *args]
        return args

    def _hint(self, args: list[str]) -> str:
        meant = difflib.get_close_matches(args[0].lower(), self.commands, 1, cutoff=0.65)
        if meant:
            return f"Did you mean: {shlex.join(['foreground', meant[0], *args[1:]])}"
        return f"Commands: {', '.join(self.commands)}."

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand. A `ForegroundError` becomes one line and exit code 1; Ctrl-C gives exit code 130."""
        with plain_messages(), _visible_usage_errors(), ended_in_order():
            try:
                return super().invoke(ctx)
            except ForegroundError as error:
                complain(f"error: {error}")
                raise typer.Exit(1) from error
            except KeyboardInterrupt:
                say("Stopped.")
                raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Remove the background of images, on this machine.\n\n"
        "[bold]foreground photo.jpg[/bold] writes photo.cutout.png beside it.\n\n"
        "[bold]foreground *.jpg -o out/ --mask-only[/bold] writes masks into a folder.\n\n"
        "[bold]foreground photos/ -o out/[/bold] does a folder and the folders in it.\n\n"
        "[bold]foreground - < photo.jpg > cutout.png[/bold] works in a pipe.\n\n"
        "All options: [bold]foreground cutout --help[/bold]. A file named like a command: [bold]./info[/bold]."
    ),
)
app.command(DEFAULT_COMMAND)(cutout.cutout)
app.add_typer(models.app, name="models")
app.command("evaluate")(evaluate.evaluate)
app.command("map")(map.map_)
app.command("quantize")(quantize.quantize)
app.command("serve")(serve.serve)
app.command("info")(info.info)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"transformers-foreground {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""
