"""How a pipeline is called: its options, one image or many, with `await` or without."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import islice
from numbers import Integral
from typing import Any, Final

from transformers_foreground.errors import ForegroundError, ImageError, UnsupportedOptionError, UnsupportedTaskError
from transformers_foreground.images.alpha import put_alpha, to_mask
from transformers_foreground.images.many import is_many, items_of
from transformers_foreground.runtime.queue import Steps
from transformers_foreground.segmenter import Foreground, Segmenter

SUBTASK: Final = "foreground-extraction"
ON_ERROR: Final = ("raise", "none", "skip")

_OPTIONS: Final = ("subtask", "resampling", "return_mask", "model_input_size", "timeout", "on_error")
# Transformers.js takes these for any segmentation model, and a single alpha plane has no use for them.
_MEANINGLESS: Final = (
    "threshold",
    "mask_threshold",
    "overlap_mask_area_threshold",
    "label_ids_to_fuse",
    "target_sizes",
)


@dataclass(frozen=True)
class CallOptions:
    """The options of one call.

    Attributes:
        prepare: Those of `Segmenter.prepare`.
        return_mask: Give the PIL mask alone.
        on_error: What to do about an image that cannot be read: one of `ON_ERROR`.
        batch_size: Images for each run of the graph.
        num_workers: Threads for this call; `None` for the segmenter's own.
    """

    prepare: Mapping[str, Any] = field(default_factory=dict)
    return_mask: bool = False
    on_error: str = "raise"
    batch_size: int = 1
    num_workers: int | None = None

    def updated(self, options: Mapping[str, Any], name: str) -> CallOptions:
        """Lay a call's own options over these.

        Args:
            options: What the caller gave; `None` for a number means the default.
            name: The model's, for messages.

        Raises:
            UnsupportedTaskError: Another subtask.
            UnsupportedOptionError: A value that the option cannot have, or an option that means nothing here.
            TypeError: There is no such option.
        """
        subtask = options.get("subtask")
        if subtask and subtask != SUBTASK:
            raise UnsupportedTaskError(
                f"Subtask {subtask!r} is not supported: {name} gives one foreground plane. "
                f"Use subtask={SUBTASK!r}, or leave it out."
            )
        known = (*_OPTIONS, "batch_size", "num_workers")
        for option, value in options.items():
            if option in _MEANINGLESS and value is not None:
                raise UnsupportedOptionError(
                    f"{option}={value!r} means nothing for {name}, which gives one alpha plane and no classes: leave "
                    "it out. A hard mask is cutout(..., threshold=0.5), or mask.point(lambda v: 255 * (v > 127))."
                )
            if option not in (*known, *_MEANINGLESS):
                raise TypeError(f"Unknown option {option!r}. The options are: {', '.join(known)}.")
        if options.get("on_error", "raise") not in ON_ERROR:
            raise UnsupportedOptionError(f"on_error={options['on_error']!r}: use 'raise', 'none' or 'skip'.")
        prepare = {k: options[k] for k in ("resampling", "model_input_size", "timeout") if k in options}
        own = {k: options[k] for k in ("return_mask", "on_error") if k in options}
        batch_size = _whole("batch_size", options.get("batch_size"), self.batch_size, least=1)
        workers = _whole("num_workers", options.get("num_workers"), self.num_workers, least=0)
        return replace(
            self, prepare={**self.prepare, **prepare}, batch_size=batch_size or 1, num_workers=workers, **own
        )


class Calls:
    """What is called like a Transformers.js pipeline, around a `Segmenter`."""

    segmenter: Segmenter
    removes_background: bool = False  # the result is the image with the mask as its alpha
    call_options: CallOptions

    def call(self, inputs: Any, options: Mapping[str, Any] | None, kwargs: dict[str, Any]) -> Any:
        """Extract the foreground of one image or of many.

        Args:
            inputs: One image: path, URL (`http:`, `file:`, `data:`), bytes, file object, PIL image, numpy array,
                torch tensor or datasets' image dict. Or a list of images; or any other iterable of them, such as a
                generator, a torch dataset or a datasets column, which is read only a little ahead. What the caller may
                change afterwards (a PIL image, an array, a file object) is taken when it is read.
            options: The same as the keyword arguments, as one mapping.
            kwargs: subtask (only `"foreground-extraction"`); resampling (see `resampling.RESAMPLINGS`); return_mask
                (give the PIL mask alone); model_input_size ([height, width] or a number, for graphs of any size);
                timeout (seconds for a URL); batch_size (1); num_workers (threads, 2; 0 for none); on_error, for an
                image that cannot be read: `"raise"`, `"none"` (give `None` in its place) or, of many, `"skip"`.

        Returns:
            For one image `[{"label": None, "score": None, "mask": PIL "L"}]` (background removal: PIL "RGBA"), for a
            list the list of these, for an iterable an iterator over these.

        Raises:
            ImageError: An image cannot be read; the message names it.
            UnsupportedTaskError: The subtask is not the model's.
            UnsupportedOptionError: An option has a value that means nothing.
            TypeError: An unknown option.
        """
        inputs, call = self._given(inputs, options, kwargs)
        if is_many(inputs):
            results = self._stream(inputs, call)
            return list(results) if isinstance(inputs, (list, tuple)) else results
        try:
            return self._result(call, self.segmenter(inputs, **call.prepare))
        except ImageError:
            if call.on_error == "none":
                return None
            raise

    async def acall(self, inputs: Any = None, options: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        """Extract the foreground of one image, or of a list of them, without blocking the event loop.

        All callers of a pipeline, from whichever event loops and threads, stand in one queue: first come, first served.
        The model runs one image (or batch) at a time; the next images are decoded and the last masks are made
        meanwhile, on `num_workers` threads of the pipeline. Only the next few images are decoded, however many
        wait; of a list, only a few stand in the queue at once, so that others get their turn. URLs are downloaded
        before they join the queue. Cancelling the task takes its images out; a run that has begun goes on
        to its end, and its result is dropped.

        Examples:
            >>> async with pipeline("image-segmentation", "briaai/RMBG-1.4") as segmenter:
            ...     results = await asyncio.gather(*(segmenter.acall(photo) for photo in photos))

        Args:
            inputs: One image, in any form that a call takes, or a list of images.
            options: The same as the keyword arguments, as one mapping.
            kwargs: Those of a call, but for `num_workers`: the threads are shared, and the pipeline's. `batch_size`
                images that are ready go through the graph together, whichever caller gave them.

        Returns:
            What the call without `await` returns.

        Raises:
            ForegroundError: As for the call without `await`; or the pipeline was disposed of meanwhile.
            UnsupportedOptionError: Neither one image nor a list; or `num_workers`.
        """
        if kwargs.get("num_workers") is not None or (options or {}).get("num_workers") is not None:
            raise UnsupportedOptionError(
                "acall() has no num_workers: all calls share the pipeline's threads. Give num_workers to pipeline()."
            )
        inputs, call = self._given(inputs, options, kwargs)
        many = is_many(inputs)
        if many and not isinstance(inputs, (list, tuple)):
            raise UnsupportedOptionError(
                f"acall() takes one image or a list, not {type(inputs).__name__}: await a call for each image, "
                "or make a list() of them."
            )
        queue, steps = self.segmenter.queue, self._steps(call)
        if many:
            return await _all(inputs, lambda image: queue.submit(image, steps), queue.room(call.batch_size), call)
        try:
            return await _awaited(queue.submit(inputs, steps))
        except ImageError:
            if call.on_error == "none":
                return None
            raise

    def dispose(self) -> None:
        """Free the session. The pipeline cannot be called any more; a second call does nothing."""
        self.segmenter.dispose()

    def __enter__(self: Any) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    async def __aenter__(self: Any) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        self.dispose()
        await asyncio.to_thread(self._wait)

    def _wait(self) -> None:
        """Wait until the threads of a disposed pipeline have ended."""
        self.segmenter.queue.wait()

    def _given(self, inputs: Any, options: Mapping[str, Any] | None, kwargs: dict[str, Any]) -> tuple[Any, CallOptions]:
        """Return the images and the options of a call."""
        if options is not None and not isinstance(options, Mapping):
            raise TypeError(f"The second argument is a mapping of options, not {type(options).__name__}.")
        inputs = kwargs.pop("images", inputs)
        return inputs, self.call_options.updated({**(options or {}), **kwargs}, self.segmenter.files.model_id)

    def _steps(self, call: CallOptions) -> Steps:
        return self.segmenter.steps(
            then=lambda _, foreground: self._result(call, foreground), batch_size=call.batch_size, **call.prepare
        )

    def _stream(self, inputs: Iterable[Any], call: CallOptions) -> Iterator[Any]:
        """Run many images, in order, reading only a little ahead."""
        for outcome in self.segmenter.stream(items_of(inputs), self._steps(call), call.num_workers):
            if not isinstance(outcome, ForegroundError):
                yield outcome
            elif call.on_error == "raise" or not isinstance(outcome, ImageError):
                raise outcome
            elif call.on_error == "none":
                yield None

    def _result(self, call: CallOptions, foreground: Foreground) -> Any:
        if call.return_mask:
            return to_mask(foreground.mask)
        if self.removes_background:
            return put_alpha(foreground.image.rgb(), foreground.mask)
        return [{"label": None, "score": None, "mask": to_mask(foreground.mask)}]


async def _awaited(future: Future[Any]) -> Any:
    import asyncio  # it is slow to import, and who awaits has it already

    try:
        return await asyncio.wrap_future(future)
    finally:
        future.cancel()  # at once; asyncio would do so in its next round


async def _all(
    images: Sequence[Any], submit: Callable[[Any], Future[Any]], at_once: int, call: CallOptions
) -> list[Any]:
    """Await many images, in order, with only a few in the queue."""
    source = iter(images)
    waiting: deque[Future[Any]] = deque()
    results: list[Any] = []
    try:
        while True:
            waiting.extend(submit(image) for image in islice(source, at_once - len(waiting)))
            if not waiting:
                return results
            try:
                results.append(await _awaited(waiting.popleft()))
            except ImageError:
                if call.on_error == "raise":
                    raise
                if call.on_error == "none":
                    results.append(None)
    finally:
        for future in waiting:
            future.cancel()


def _whole(name: str, given: Any, default: int | None, least: int) -> int | None:
    """Return a whole number that an option gives, or its default."""
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, Integral) or int(given) < least:
        raise UnsupportedOptionError(f"{name}={given!r}: use a whole number from {least}.")
    return int(given)
