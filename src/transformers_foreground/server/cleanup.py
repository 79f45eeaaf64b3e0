"""While the server runs: delete old files, and make Gradio forget calls that have ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from transformers_foreground.server.disk import KEEP_SECONDS, Disk
from transformers_foreground.server.service import Service

logger = logging.getLogger(__name__)

_FORGET_SECONDS: Final = 5
_SWEEP_SECONDS: Final = 60


@asynccontextmanager
async def running(service: Service, page: Any = None) -> AsyncIterator[None]:
    """The lifespan of a server: clean up while it runs, close the service at its end.

    Args:
        service: Whose files are deleted when they are old.
        page: Gradio's page; `None` for the API alone.
    """
    cleaning = asyncio.create_task(_keep_clean(service.disk, page))
    yield
    cleaning.cancel()
    service.close()


async def _keep_clean(disk: Disk, page: Any) -> None:
    swept = time.monotonic()
    while True:
        await asyncio.sleep(_FORGET_SECONDS)
        if page is not None:
            try:
                forget(page)
            except Exception:  # a newer Gradio may keep its calls elsewhere; files must be deleted all the same
                logger.exception(
                    "Gradio's ended calls cannot be forgotten: its memory will grow. Another version of it may help."
                )
                page = None
        if time.monotonic() - swept >= _SWEEP_SECONDS:
            await asyncio.to_thread(disk.sweep)
            swept = time.monotonic()


def forget(page: Any) -> None:
    """Drop calls that have ended. Gradio keeps each, with all that it was sent, as long as the server runs.

    Args:
        page: Gradio's page. Call this on its event loop.
    """
    queue = page._queue
    calls, analytics = queue.event_ids_to_events, queue.event_analytics
    for name, facts in list(analytics.items()):
        if name not in calls or facts["status"] not in ("queued", "processing"):
            del analytics[name]
    for name, call in list(calls.items()):
        if name in analytics:
            continue
        call.data = None
        unheard = queue.pending_event_ids_session.get(call.session_hash, set())
        if name not in unheard or time.monotonic() - call.enqueue_time > KEEP_SECONDS:
            del calls[name]
            unheard.discard(name)
            if not unheard:
                queue.pending_event_ids_session.pop(call.session_hash, None)
    if isinstance(queue._asyncio_tasks, list):  # newer Gradios have a set, and drop ended tasks themselves
        queue._asyncio_tasks = [task for task in queue._asyncio_tasks if not task.done()]
    for paths in page.temp_file_sets:
        paths.clear()
    sessions = page.state_holder
    for name in sessions.time_last_used.keys() - sessions.session_data.keys():
        del sessions.time_last_used[name]
