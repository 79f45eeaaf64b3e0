"""What is deleted and forgotten while the server runs."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from transformers_foreground.server.disk import KEEP_SECONDS, Disk

_FORGET_SECONDS: Final = 5
_SWEEP_SECONDS: Final = 60


async def keep_swept(disk: Disk) -> None:
    """Delete what is old again and again, until it is cancelled.

    Args:
        disk: Where uploads and results are.
    """
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await asyncio.to_thread(disk.sweep)


async def keep_clean(page: Any, disk: Disk) -> None:
    """Do so again and again, until it is cancelled.

    Args:
        page: Gradio's page.
        disk: Where uploads and results are.
    """
    swept = time.monotonic()
    while True:
        await asyncio.sleep(_FORGET_SECONDS)
        forget(page)
        if time.monotonic() - swept >= _SWEEP_SECONDS:
            await asyncio.to_thread(disk.sweep)
            swept = time.monotonic()


def forget(page: Any) -> None:
    """Let go of calls that have ended: Gradio keeps each, with all that it was sent, as long as the server runs.

    Args:
        page: Gradio's page. This is called on its event loop.
    """
    queue = page._queue
    calls, told = queue.event_ids_to_events, queue.event_analytics
    for name, facts in list(told.items()):
        if name not in calls or facts["status"] not in ("queued", "processing"):
            del told[name]
    for name, call in list(calls.items()):
        if name in told:
            continue
        call.data = None
        unheard = queue.pending_event_ids_session.get(call.session_hash, set())
        if name not in unheard or time.monotonic() - call.enqueue_time > KEEP_SECONDS:
            del calls[name]
            unheard.discard(name)
            if not unheard:
                queue.pending_event_ids_session.pop(call.session_hash, None)
    if isinstance(queue._asyncio_tasks, list):  # where it is a set, Gradio lets go of them itself
        queue._asyncio_tasks = [task for task in queue._asyncio_tasks if not task.done()]
    for paths in page.temp_file_sets:
        paths.clear()
    sessions = page.state_holder
    for name in sessions.time_last_used.keys() - sessions.session_data.keys():
        del sessions.time_last_used[name]
