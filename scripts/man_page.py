"""Write the man page, docs/foreground.1, from the command's own help: `python scripts/man_page.py [--check]`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import typer

from transformers_foreground import __version__
from transformers_foreground.cli import app

PAGE = Path(__file__).resolve().parents[1] / "docs/foreground.1"


def roff(text: str) -> str:
    """Escape text, without the markup of the terminal's help."""
    plain = re.sub(r"(?<!\\)\[/?(bold|dim|italic)\]", "", text).replace("\\[", "[")
    return re.sub(r"(?m)^([.'])", r"\\&\1", plain.replace("\\", "\\e").replace("-", "\\-"))


def paragraphs(text: str) -> list[str]:
    """Return the lines of running text."""
    return [line for part in re.split(r"\n\s*\n", text.strip()) for line in (".PP", roff(" ".join(part.split())))]


def option(parameter: Any) -> list[str]:
    """Return the lines of one option or argument."""
    if parameter.param_type_name == "argument":
        return [".TP", f".I {roff(parameter.metavar or parameter.name.upper())}", roff(parameter.help or "")]
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    said = parameter.show_default
    default = said if isinstance(said, str) else parameter.default
    shown = "" if default in (None, False, True, "0") or callable(default) else f" Default: {default}."
    return [".TP", f".B {roff(names + value)}", roff((parameter.help or "") + shown)]


def section(name: str, command: Any) -> list[str]:
    """Return the lines of one subcommand, and of those below it."""
    lines = [f".SS {roff(name)}", *paragraphs(command.help or "")]
    for parameter in command.params:
        if not getattr(parameter, "hidden", False) and parameter.name != "help":
            lines += option(parameter)
    for below, inner in sorted(getattr(command, "commands", {}).items()):
        lines += section(f"{name} {below}", inner)
    return lines


def page() -> str:
    """Return the man page."""
    root: Any = typer.main.get_command(app)
    lines = [
        f'.TH FOREGROUND 1 "" "transformers-foreground {__version__}" "User Commands"',
        ".SH NAME",
        r"foreground \- remove the background of images, on this machine",
        ".SH SYNOPSIS",
        r".B foreground \fIIMAGE\fR... [\fIOPTION\fR]...",
        ".br",
        r".B foreground \fICOMMAND\fR [\fIARGUMENT\fR]...",
        ".SH DESCRIPTION",
        *paragraphs(root.help),
        ".SH COMMANDS",
    ]
    for name, command in root.commands.items():
        lines += section(name, command)
    lines += [
        ".SH EXIT STATUS",
        "0 when all is done, 1 when something failed (it is named), 2 when the command itself is wrong, 130 after Ctrl"
        r"\-C (which ends \-\-watch as usual: 0, or 1 if an image had failed).",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    if parser.parse_args().check:
        return int(PAGE.read_text() != page())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
