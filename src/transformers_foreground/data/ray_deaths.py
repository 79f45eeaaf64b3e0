"""Images that kill Ray's actors: the record is another actor, which does nothing that could kill it."""

from __future__ import annotations

from typing import Any

from transformers_foreground.data.deaths import Memory


class RayRecord:
    """A `deaths.Memory` on the cluster that Ray is connected to; can be sent to actors."""

    def __init__(self) -> None:
        import ray

        self._actor: Any = ray.remote(num_cpus=0, max_restarts=-1)(Memory).remote()

    def begin(self, work: str) -> int:
        """See `deaths.Record`."""
        import ray

        return int(ray.get(self._actor.begin.remote(work)))

    def end(self, work: str) -> None:
        """See `deaths.Record`."""
        self._actor.end.remote(work)


def this_actor() -> str:
    """Return the name of the actor that calls this; it stays when the actor is started again."""
    import ray

    return ray.get_runtime_context().get_actor_id() or ""
