"""Signals: a command that one ends closes its files and deletes temporary ones, as after Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

_GRACE: Final = 30.0  # seconds to end in order; then the system ends the process, as at a second signal
_ENDING: Final = ("SIGTERM", "SIGHUP")  # the latter when the terminal is closed; not on Windows


@contextmanager
def ended_in_order(code: int | None = None) -> Iterator[None]:
    """End in order on signals that would end the process at once. Those that nohup ignores stay ignored.

    Args:
        code: Exit code; by default 128 + N for the signal N, as in shells.
    """
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def end(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)
        if hasattr(signal, "setitimer"):  # an exception of the handler is lost if it interrupts the garbage collector
            signal.setitimer(signal.ITIMER_REAL, _GRACE)
        sys.exit(128 + number if code is None else code)

    numbers = [number for name in _ENDING if (number := getattr(signal, name, None)) is not None]
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        numbers = []
    before = {number: signal.getsignal(number) for number in numbers}
    if numbers and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.default_int_handler
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):  # None: set by other code than Python's
            signal.signal(number, interrupt if number == signal.SIGINT else end)
    try:
        yield
    except typer.Exit:  # Ctrl-C is how --watch ends
        raise
    except Exception:
        if not received:
            raise
        # An exception of the handler becomes another one if it interrupts the import of a C module.
        sys.exit(128 + received[0] if code is None else code)
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
