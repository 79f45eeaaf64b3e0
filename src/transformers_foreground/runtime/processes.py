"""How many processes share the cores with this one."""

from __future__ import annotations

import sys
from typing import Any


def pool_workers(library: Any) -> int:
    """Count the workers of the pools that this process has started; at least one.

    A pool starts all its workers before it sends them anything, so that their number is known when a model is pickled
    for one of them.

    Args:
        library: `multiprocessing`, or its fork `multiprocess`.
    """
    return max(1, sum("PoolWorker" in process.name for process in library.active_children()))


def data_loader_workers() -> int | None:
    """Return how many workers the torch `DataLoader` has that this process works for; `None` outside of one."""
    torch_data = sys.modules.get("torch.utils.data")
    worker = torch_data.get_worker_info() if torch_data else None
    return int(worker.num_workers) if worker else None
