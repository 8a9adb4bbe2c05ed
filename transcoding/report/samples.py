"""Sample frames: the same part of the same moment of the source and of every rung, as small JPEGs."""

import dataclasses
import threading
from fractions import Fraction
from pathlib import Path

from transcoding import ffmpeg
from transcoding.arguments import filter_graph
from transcoding.errors import TimeLimitError, TranscodingError, TransientError
from transcoding.plan import Plan
from transcoding.source import Source

FOLDER = "report"
SOURCE = "source"
LARGEST_BYTES = 100_000
_SHARES = (Fraction(1, 5), Fraction(1, 2), Fraction(4, 5))
_WIDTH, _HEIGHT = 560, 314
_QUALITY = 5  # of ffmpeg's mjpeg: 20 to 60 kB at this size; 2 is the best, 31 the worst
_LEAST_TIMEOUT_S = 300
_PATIENCE = 2  # seconds for each second of film that must be decoded before the moment


def moments(plan: Plan) -> list[int]:
    """Segments whose first frames are shown: at a fifth, at the half and at four fifths; fewer in a short film."""
    segments = -(-plan.frames // plan.segment_frames)
    return sorted({int(share * segments) for share in _SHARES})


def write_samples(
    draft: Path, plan: Plan, source: Source, *, quality: int = _QUALITY, cancel: threading.Event | None = None
) -> list[Path]:
    """Write `report/<second>-<rung>.jpg`, and `-source`, from clear segments, so before they are encrypted.

    Every rung is scaled to the size of the largest one and the middle of the picture is cut out, as large in all. A
    package is no worse without: moments that cannot be decoded, or not in time, are left out.

    Raises:
        TransientError: cancelled, or out of disk space.
    """
    (draft / FOLDER).mkdir(exist_ok=True)
    # A first package of a long film has the small rungs only, and HDR would look wrong in a JPEG.
    rungs = tuple(rung for rung in plan.rungs if (draft / "video" / rung.name).is_dir() and not rung.hdr)
    shown = dataclasses.replace(plan, rungs=rungs)
    written: list[Path] = []
    for segment in moments(plan):
        try:
            written += _moment(draft, shown, source, segment, quality, cancel)
        except TranscodingError as error:
            for path in (draft / FOLDER).glob(f"{_second(plan, segment):05d}-*.jpg"):
                path.unlink()  # it may be half written
            if isinstance(error, TransientError) and not isinstance(error, TimeLimitError):
                raise
    return [path for path in written if path.exists()]


def _second(plan: Plan, segment: int) -> int:
    return int(segment * plan.segment)


def _moment(
    draft: Path, plan: Plan, source: Source, segment: int, quality: int, cancel: threading.Event | None
) -> list[Path]:
    at = segment * plan.segment
    paths = [
        Path(FOLDER) / f"{_second(plan, segment):05d}-{name}.jpg"
        for name in (SOURCE, *(rung.name for rung in plan.rungs))
    ]
    inputs, chains = _source_input(source, plan, at), [_source_chain(plan, source, at)]
    for number, rung in enumerate(plan.rungs, start=1):
        folder = f"video/{rung.name}"
        inputs += ["-protocol_whitelist", "concat,file", "-i"]
        inputs += [f"concat:{folder}/init.mp4|{folder}/{segment:05d}.m4s"]
        chains.append(f"[{number}:v]{_crop(plan)}[s{number}]")
    outputs = [
        argument
        for number, path in enumerate(paths)
        for argument in ("-map", f"[s{number}]", "-frames:v", "1", "-update", "1", "-q:v", str(quality), str(path))
    ]
    # A film that cannot be sought is decoded from its beginning.
    timeout_s = _LEAST_TIMEOUT_S if source.seekable else max(_LEAST_TIMEOUT_S, _PATIENCE * float(at))
    ffmpeg.run(
        [
            "-hide_banner", "-nostdin", "-y", "-v", "error", "-nostats", "-progress", "pipe:1",
            *inputs, "-filter_complex", ";".join(chains), *outputs,
        ],
        cwd=draft,
        timeout_s=timeout_s,
        cancel=cancel,
        sandbox=ffmpeg.confined(source.path, write=(draft,), timeout_s=timeout_s),
    )  # fmt: skip
    made = [draft / path for path in paths]
    too_large = [path for path in made if path.exists() and path.stat().st_size > LARGEST_BYTES]
    if too_large and quality < 31:
        return _moment(draft, plan, source, segment, min(31, quality * 2), cancel)
    return made


def _source_input(source: Source, plan: Plan, at: Fraction) -> list[str]:
    return [
        "-protocol_whitelist", "file,pipe", "-format_whitelist", source.container,
        *(["-ss", f"{float(_start(source, plan, at)):.6f}"] if source.seekable else []), "-i", f"file:{source.path}",
    ]  # fmt: skip


def _start(source: Source, plan: Plan, at: Fraction) -> Fraction:
    """Where to begin reading the source: a whole number of output frames before the moment."""
    early = at - source.seek_margin - 1 / plan.frame_rate
    return max(Fraction(0), Fraction(int(early * plan.frame_rate)) / plan.frame_rate)


def _source_chain(plan: Plan, source: Source, at: Fraction) -> str:
    # The picture of the largest rung before its encoder: the same front of the filter graph, then the frame itself.
    largest = dataclasses.replace(plan, rungs=(dataclasses.replace(plan.rungs[0], marked=False),))
    skipped = at - _start(source, plan, at) if source.seekable else at
    front = filter_graph(largest, source)
    frame = round(skipped * plan.frame_rate)
    return f"{front};[v0]trim=start_frame={frame},{_crop(plan)}[s0]"


def _crop(plan: Plan) -> str:
    largest = plan.rungs[0]
    width, height = min(_WIDTH, largest.width) // 2 * 2, min(_HEIGHT, largest.height) // 2 * 2
    return (
        f"scale={largest.width}:{largest.height}:flags=bicubic:out_range=pc,"
        f"crop={width}:{height}:(iw-{width})/2:(ih-{height})/2,setsar=1,format=yuvj420p"
    )
