"""Signals end a command in order, whatever they interrupt."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from transformers_foreground.cli.signals import ended_in_order

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")


def kill_in_an_import(number: signal.Signals) -> None:
    """Do what C does with an error in the middle of its initialization."""
    try:
        kill(number)
    except BaseException as error:
        raise ImportError("initialization failed") from error


def kill(number: signal.Signals) -> None:
    """Send this process a signal, and wait for it."""
    try:
        os.kill(os.getpid(), number)
        time.sleep(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_in_the_import_of_a_module_in_c(number: signal.Signals, code: int) -> None:
    """There another error takes the place of what the handler raised."""
    handler = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, ended_in_order():
        kill_in_an_import(number)
    assert ended.value.code == code
    assert signal.getsignal(number) is handler


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_in_order(code=0):
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(SystemExit) as ended:
                kill(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.value.code == 0


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), ended_in_order():
        raise ZeroDivisionError
