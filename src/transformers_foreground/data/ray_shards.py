"""A job's shards on a Ray cluster: a pool of actors, each of which opens the model once."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from typing import Any

from transformers_foreground.data.deaths import Record
from transformers_foreground.data.ray_deaths import RayRecord, this_actor
from transformers_foreground.data.shard_results import Made
from transformers_foreground.data.shard_work import ShardWork
from transformers_foreground.data.shards import Shard
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.extras import need

_TIMEOUT = 10.0  # seconds to reach a cluster
_RETRIES = 10  # of a shard whose actor died; an image that kills takes three


class _Actor:
    """What runs on the cluster."""

    def __init__(self, work: ShardWork, record: Record) -> None:
        self.work, self.record = work, record  # the model opens in `run`, so that its error is that of the shard

    def run(self, shard: Shard) -> Made:
        return self.work(shard, self.record, this_actor())


def connect(address: str) -> Any:
    """Connect to a cluster, unless this process already is, and return Ray.

    Args:
        address: The cluster's; `"local"` starts one on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ForegroundError: There is no cluster at this address.
    """
    ray = need("ray", "ray", "--ray")
    if not ray.is_initialized():
        try:
            host, _, port = address.rpartition("://")[2].rpartition(":")
            if port.isdecimal():  # Ray itself tries for minutes
                socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT).close()
            ray.init(address, log_to_driver=False, include_dashboard=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ForegroundError(
                f"No Ray cluster at {address}: {error}. Start one with `ray start --head`, or use 'local'."
            ) from error
    return ray


def each_on_ray(
    ray: Any, work: ShardWork, shards: Sequence[Shard], actors: int | None
) -> Generator[tuple[Shard, Made | ForegroundError], None, None]:
    """Do shards, and yield each with its outcome, as they are finished.

    Ray restarts an actor that died, and gives it the same shard. An image that killed it three times is not tried again
    (see `deaths`); after eleven deaths in one shard the shard has failed.

    Args:
        ray: Ray, connected.
        work: Does a shard.
        shards: The shards.
        actors: How many, with one core each; by default as many as the cluster has cores.
    """
    remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)(_Actor)
    shared = ray.put(work)
    count = min(actors or max(1, int(ray.cluster_resources().get("CPU", 1))), len(shards))
    record = RayRecord()
    idle = [remote.remote(shared, record) for _ in range(count)]
    waiting = list(reversed(shards))
    running: dict[Any, tuple[Any, Shard]] = {}
    try:
        while waiting or running:
            while waiting and idle:
                actor, shard = idle.pop(), waiting.pop()
                running[actor.run.remote(shard)] = actor, shard
            (done, *_), _ = ray.wait(list(running))
            actor, shard = running.pop(done)
            idle.append(actor)
            yield shard, _outcome(ray, done, shard)
    finally:
        for actor in (*idle, *(actor for actor, _ in running.values())):
            ray.kill(actor)


def _outcome(ray: Any, done: Any, shard: Shard) -> Made | ForegroundError:
    try:
        made: Made = ray.get(done)
        return made
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ForegroundError):
            return error.cause
        raise error.cause from error
    except ray.exceptions.RayActorError:
        return ImageError(
            f"The process that worked on the shard {shard.path} died {_RETRIES + 1} times (out of memory?)."
        )
