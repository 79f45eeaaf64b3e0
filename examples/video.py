"""A video without its background: WebM (VP9) with alpha, or MP4 (H.264) on a colour.

    python examples/video.py talk.mp4 talk.webm --model imgly/isnet-general-use
    python examples/video.py talk.mp4 talk-green.mp4 --background "#00b140"

Frames stream: only a few are in memory, however long the video is. Each keeps its time stamp. The sound is copied where
the new file can hold it as it is (from MP4 to MP4 it can).
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from transformers_foreground import ForegroundError, cutout, pipeline
from transformers_foreground.compositing.smoothing import smooth


def read(source: Any, target: Any, sound: Any) -> Iterator[av.VideoFrame]:
    """Decode the frames of a video, and copy the packets of its sound on the way.

    Args:
        source: The opened video.
        target: Where the sound goes.
        sound: Its stream there, or `None` to leave it out.
    """
    streams = [source.streams.video[0], *(source.streams.audio[:1] if sound else ())]
    for packet in source.demux(streams):
        if packet.stream.type == "video":
            yield from packet.decode()
        elif packet.dts is not None:  # not the empty one that ends the stream
            packet.stream = sound
            target.mux(packet)


def pixels(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Return a frame's pixels, uint8, (H, W, 3), upright: telephones note their turn instead of turning pixels."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))


def open_stream(target: Any, path: Path, background: str | None) -> Any:
    """Add the stream for the new frames: VP9 with alpha, or H.264 where there is a background."""
    with av.open(path) as container:
        if not container.streams.video:
            raise ValueError(f"there are no frames in {path}")
        source = container.streams.video[0]
        first = next(container.decode(source))
        stream = target.add_stream("libx264" if background else "libvpx-vp9", rate=source.average_rate)
        stream.codec_context.time_base = source.time_base  # so that it can say each of the source's time stamps
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(stream.codec_context, name, getattr(source.codec_context, name))
    height, width = pixels(first).shape[:2]
    stream.width, stream.height = even(width), even(height)
    if background:
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
    else:  # libvpx makes no alpha with alternate reference frames
        stream.pix_fmt, stream.options = "yuva420p", {"crf": "24", "b": "0", "cpu-used": "4", "auto-alt-ref": "0"}
    return stream


def even(side: int) -> int:
    """Return an even side: these codecs halve the resolution of colours."""
    return side // 2 * 2


def remove_background(path: Path, output: Path, model: str, background: str | None = None) -> int:
    """Write a video without its background.

    Args:
        path: The video.
        output: A `.webm` for alpha, or, with a background, an `.mp4` or what else holds H.264.
        model: Repository id or folder.
        background: A colour, or `None` for alpha.

    Returns:
        The number of frames.
    """
    count = 0
    with (
        av.open(path) as source,
        pipeline("image-segmentation", model) as segmenter,
        av.open(output, "w") as target,
    ):
        stream = open_stream(target, path, background)
        audio = next(iter(source.streams.audio), None)
        copied = audio is not None and audio.codec_context.codec.canonical_name in target.supported_codecs
        sound = target.add_stream_from_template(audio) if copied else None
        # The pipeline reads a few frames ahead; tee keeps just these.
        ahead, frames = itertools.tee((frame, pixels(frame)) for frame in read(source, target, sound))
        masks = segmenter((image for _, image in ahead), return_mask=True)
        for (frame, image), mask in zip(frames, smooth(map(np.asarray, masks)), strict=True):
            composed = cutout(image, mask, background=background).crop((0, 0, stream.width, stream.height))
            new = av.VideoFrame.from_ndarray(np.asarray(composed), format="rgb24" if background else "rgba")
            new = new.reformat(format=stream.pix_fmt, dst_colorspace=stream.codec_context.colorspace)
            new.pts, new.time_base = frame.pts, frame.time_base
            target.mux(stream.encode(new))
            count += 1
        target.mux(stream.encode(None))
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path, help=".webm for alpha; .mp4 with --background")
    parser.add_argument("--model", default="briaai/RMBG-1.4")
    parser.add_argument("--background", help="a colour, such as '#00b140'")
    options = parser.parse_args(arguments)
    if options.output.exists() and options.output.samefile(options.video):
        parser.error("the output is the video itself: give another name")
    if options.background is None and options.output.suffix != ".webm":
        parser.error("only .webm has alpha: name the output so, or give a --background")
    if options.background is None and "libvpx-vp9" not in av.codecs_available:
        parser.error("this PyAV was built without libvpx, so it has no alpha: give a --background")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    count = remove_background(options.video, options.output, options.model, options.background)
    print(f"{options.output}: {count} frames")


if __name__ == "__main__":
    try:
        main()
    except (ForegroundError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
