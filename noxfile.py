"""The fast tests on every Python, with the newest and with the oldest dependencies: `pip install nox; nox`."""

from __future__ import annotations

import os

import nox

TORCH = os.environ.get("TORCH", "torch==2.13.0").split()
nox.options.default_venv_backend = "venv"


def fast_tests(session: nox.Session, *constraints: str) -> None:
    """Install the package, and run what needs no real model."""
    session.install(*TORCH)
    session.install("-e", ".[dev]", *constraints)
    session.run("pytest", "-m", "not model", *session.posargs)


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def newest(session: nox.Session) -> None:
    """Test with the newest dependencies that are allowed."""
    fast_tests(session)


@nox.session(python="3.10")
def oldest(session: nox.Session) -> None:
    """Test with the oldest dependencies that are allowed."""
    fast_tests(session, "-c", "tests/constraints-oldest.txt")
