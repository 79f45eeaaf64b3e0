"""Signals: whatever ends a command, what it has open is closed and what is temporary is deleted, as after Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

_GRACE: Final = 30.0  # seconds to end in order; then the system ends the process, as it does at the second signal
_ENDING: Final = ("SIGTERM", "SIGHUP")  # the latter when the terminal is closed; Windows has none


@contextmanager
def ended_in_order(code: int | None = None) -> Iterator[None]:
    """End in order on signals that would otherwise end the process at once; but not on what nohup has it ignore.

    Args:
        code: Exit code; 128 + N for the signal N by default, as shells have it.
    """
    received: list[int] = []

    def interrupt(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def end(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)
        if hasattr(signal, "setitimer"):  # what a handler raises is lost where it interrupts the garbage collector
            signal.setitimer(signal.ITIMER_REAL, _GRACE)
        sys.exit(128 + number if code is None else code)

    numbers = [number for name in _ENDING if (number := getattr(signal, name, None)) is not None]
    if threading.current_thread() is not threading.main_thread():  # Python lets no other handle signals
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
        # What a handler raises becomes another error where it interrupts the import of a module in C.
        sys.exit(128 + received[0] if code is None else code)
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
