"""A job's shards on a Ray cluster: one pool of actors, each of which opens the model once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from transformers_foreground.data.deaths import Record, compute
from transformers_foreground.data.ray_deaths import RayRecord, this_actor
from transformers_foreground.data.shard_results import Made
from transformers_foreground.data.shard_work import ShardWork
from transformers_foreground.data.shards import Shard
from transformers_foreground.errors import ForegroundError, ImageError
from transformers_foreground.extras import need

_RETRIES = 10  # of a shard whose actor died, until the shard is given up; an image that kills takes three


class _Actor:
    """What runs on the cluster."""

    def __init__(self, work: ShardWork, record: Record) -> None:
        self.work = work
        self.compute = partial(compute, work.mapper, record=record, worker=this_actor())
        work.mapper.model.open()

    def run(self, shard: Shard) -> Made:
        return self.work(shard, compute=self.compute)


def connect(address: str) -> Any:
    """Connect to a cluster, unless this process is connected, and return Ray.

    Args:
        address: Of a cluster; `"local"` starts one on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
        ForegroundError: There is no cluster at this address.
    """
    ray = need("ray", "ray", "--ray")
    if not ray.is_initialized():
        try:
            ray.init(address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ForegroundError(f"No Ray cluster at {address}: {error}") from error
    return ray


def each_on_ray(
    ray: Any, work: ShardWork, shards: Sequence[Shard], actors: int | None
) -> Iterator[tuple[Shard, Made | ForegroundError]]:
    """Do shards, and yield each with what came of it, in the order in which they are finished.

    Ray starts an actor that died again, and gives it the same shard. An image that killed it three times is then given
    up (see `deaths`); after ten deaths more the shard has failed.

    Args:
        ray: Ray, connected.
        work: Does a shard.
        shards: The shards.
        actors: How many, with one core each; by default as many as the cluster has cores.
    """
    remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)(_Actor)
    shared = ray.put(work)
    count = min(actors or max(1, int(ray.cluster_resources().get("CPU", 1))), len(shards))
    record = RayRecord(ray)
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
        cause = error.cause
        if isinstance(cause, ForegroundError):
            return cause
        raise
    except ray.exceptions.RayActorError:
        return ImageError(
            f"The process that did the shard {shard.path} died {_RETRIES + 1} times, perhaps for want of memory."
        )
