"""The command's root: what it is, and that `foreground photo.jpg` means `foreground cutout photo.jpg`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from transformers_foreground.cli import cutout, info, models
from transformers_foreground.env import __version__

DEFAULT_COMMAND = "cutout"


class _DefaultToCutout(TyperGroup):
    """A group that takes what is no subcommand and no option of its own as arguments of the default one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {option for parameter in self.get_params(ctx) for option in parameter.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_DefaultToCutout,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=(
        "Remove the background of pictures, on this machine.\n\n"
        "[bold]foreground photo.jpg[/bold] writes photo.cutout.png beside it.\n\n"
        "[bold]foreground *.jpg -o out/ --mask-only[/bold] writes masks into a folder.\n\n"
        "[bold]foreground - < photo.jpg > cutout.png[/bold] works in a pipe.\n\n"
        "All options: [bold]foreground cutout --help[/bold]."
    ),
)
app.command(DEFAULT_COMMAND)(cutout.cutout)
app.add_typer(models.app, name="models")
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
