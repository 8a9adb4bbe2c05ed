"""How ffmpeg is told to carry out a plan: pure functions."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from transcoding.plan import Chunk, Plan, Rung
from transcoding.source import Source
from transcoding.watermark import VARIANTS, mark_filter, pattern_input

# A constant, not the machine's cores: any worker must give the same bytes. x264 with several frame threads does not
# give them even twice when its buffer model (VBV) binds. A ladder's rungs and other chunks keep the cores busy.
ENCODER_THREADS = 1
QUIET = ("-hide_banner", "-nostdin", "-y", "-v", "error", "-nostats", "-progress", "pipe:1", "-stats_period", "0.2")
_TONE_MAPPING = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
)
_SDR, _HDR = "yuv420p", "yuv420p10le"
# Ten bits cost AV1 little, save bits in dark gradients, and every decoder of its main profile has them.
_PIXELS = {"h264": _SDR, "av1": _HDR, "hevc": _HDR}


def encode_arguments(
    plan: Plan,
    source: Source,
    out: Path,
    *,
    rungs: Sequence[Rung] | None = None,
    chunk: Chunk | None = None,
    threads: int = ENCODER_THREADS,
) -> list[str]:
    """ffmpeg's arguments for the picture: one process, one decode, each size scaled from the next larger one.

    Every output is a folder of CMAF segments below `out`, which must exist with its folders (`folders`); times start at
    zero, also in a `chunk`. A marked rung has a second output in `variants/`; its pattern must lie in `out` (see
    `watermark.Mark.write`). The master's format is not guessed and nothing but plain files is opened. `threads` of each
    encoder; 0: the encoder decides, and the bytes differ between machines.
    """
    rungs = plan.rungs if rungs is None else rungs
    arguments = [*QUIET, *input_arguments(plan, source, chunk)]
    for rung in _marked(rungs):
        arguments += pattern_input(rung, out)
    arguments.append("-filter_complex")
    arguments.append(filter_graph(plan, source, rungs=rungs, chunk=chunk))
    shift = plan.crf_shifts[chunk.number] if chunk is not None and plan.crf_shifts else 0.0
    for number, rung in enumerate(rungs):
        options = video_options(plan, rung, source, shift=shift, threads=threads)
        arguments += ["-map", f"[v{number}]", *options, *segment_options(plan, out / "video" / rung.name)]
        if rung.marked:
            arguments += ["-map", f"[w{number}]", *options, *segment_options(plan, out / VARIANTS / rung.name)]
    return arguments


def _marked(rungs: Sequence[Rung]) -> list[Rung]:
    """In the order of their patterns among ffmpeg's inputs; the master comes before them."""
    return [rung for rung in rungs if rung.marked]


def folders(plan: Plan, rungs: Sequence[Rung] | None = None) -> list[Path]:
    """Where the picture's renditions go, relative to the folder of the package or chunk."""
    rungs = plan.rungs if rungs is None else rungs
    return [Path("video") / rung.name for rung in rungs] + [Path(VARIANTS) / rung.name for rung in _marked(rungs)]


def input_arguments(plan: Plan, source: Source, chunk: Chunk | None = None) -> list[str]:
    """The master as ffmpeg's input: opened as what it is, entered early enough for every frame of the chunk.

    Times are the file's own, less its start, wherever reading begins: the filters then pick the same frames, and sound
    that is read by another process stays where it was. (ffmpeg's own zero is the start of the streams that are used.)
    """
    begin = _entry(plan, source, chunk)
    # Not `accurate`: that would drop a frame that comes on screen before the entry and stays.
    seek = ["-noaccurate_seek", "-ss", f"{float(begin):.6f}"] if begin is not None else []
    return [
        "-copyts", "-itsoffset", f"{-float(source.origin):.6f}", "-protocol_whitelist", "file,pipe",
        "-format_whitelist", source.container, *seek, "-i", f"file:{source.path}",
    ]  # fmt: skip


def _entry(plan: Plan, source: Source, chunk: Chunk | None) -> Fraction | None:
    """Seconds to seek to; None to read from the beginning."""
    if chunk is None or not chunk.first_frame or not source.seekable:
        return None
    begin = chunk.first_frame / plan.frame_rate - source.seek_margin
    return begin if begin > source.offset else None


def front(plan: Plan, source: Source, chunk: Chunk | None = None) -> str:
    """The filters between decoder and first scaling: whole frames at the plan's rate, those of the chunk only."""
    steps = ["bwdif=mode=send_field:deint=all"] if plan.deinterlace else []
    # A picture that begins after the sound stands still until then: every rung starts at zero. Who has sought sees no
    # beginning, and starts with the number of the frame that was found.
    begins = "" if _entry(plan, source, chunk) is not None else ":start_time=0"
    steps.append(f"fps=fps={plan.frame_rate}{begins}")
    if chunk is not None:
        # Here one unit of time is one frame.
        steps.append(f"trim=start_pts={chunk.first_frame}:end_pts={chunk.first_frame + chunk.frames},setpts=N")
    return ",".join(steps)


def filter_graph(plan: Plan, source: Source, *, rungs: Sequence[Rung] | None = None, chunk: Chunk | None = None) -> str:
    """`[0:v]` -> `[v0]`, `[v1]`, ...: one for each rung, in order; HDR rungs branch off before tone mapping.

    A marked rung also has `[w<n>]`, its variant B.
    """
    rungs = plan.rungs if rungs is None else rungs
    numbered = list(enumerate(rungs))
    marks = [
        mark_filter(f"u{number}", f"{place + 1}:v", f"v{number}", f"w{number}", tag=f"m{number}")
        for place, (number, _) in enumerate((number, rung) for number, rung in numbered if rung.marked)
    ]
    hdr = [(number, rung) for number, rung in numbered if rung.hdr]
    sdr = [(number, rung) for number, rung in numbered if not rung.hdr]
    start, chains = f"[0:{source.video_index}]{front(plan, source, chunk)}", []
    mapped = f"{_TONE_MAPPING}," if plan.tone_map else ""
    if hdr and sdr:
        chains = [f"{start},split[hdr][sdr]"]
        return ";".join([*chains, *_cascade("[hdr]", hdr, _HDR), *_cascade(f"[sdr]{mapped}", sdr, _SDR), *marks])
    return ";".join([*_cascade(f"{start},{'' if hdr else mapped}", numbered, _HDR if hdr else _SDR), *marks])


def _outlet(number: int, rung: Rung) -> str:
    """Where the picture of a rung leaves the cascade: to its encoder, or to be marked."""
    return f"[u{number}]" if rung.marked else f"[v{number}]"


def _cascade(inlet: str, rungs: Iterable[tuple[int, Rung]], pixels: str) -> list[str]:
    """Chains that scale from the largest size down, each from the one before; rungs of one size share the picture."""

    def size(numbered: tuple[int, Rung]) -> tuple[int, int]:
        return -numbered[1].width * numbered[1].height, -numbered[1].width

    sizes = [list(group) for _, group in groupby(sorted(rungs, key=size), size)]
    chains = []
    for step, group in enumerate(sizes):
        first = group[0][1]
        outlets = [_outlet(number, rung) for number, rung in group if _PIXELS[rung.codec] == pixels]
        deeper = [(number, rung) for number, rung in group if _PIXELS[rung.codec] != pixels]
        outlets += [f"[d{number}]" for number, _ in deeper]
        following = f"[c{group[0][0]}]"
        if step + 1 < len(sizes):
            outlets.append(following)
        share = f",split={len(outlets)}" if len(outlets) > 1 else ""
        chains.append(f"{inlet}{_scale(first, pixels)}{share}{''.join(outlets)}")
        chains += [f"[d{number}]format={_PIXELS[rung.codec]}{_outlet(number, rung)}" for number, rung in deeper]
        inlet = following
    return chains


def _scale(rung: Rung, pixels: str) -> str:
    # Square pixels: players take RESOLUTION from the picture, and some break on anything else.
    return f"scale={rung.width}:{rung.height}:flags=bicubic:out_range=tv,setsar=1,format={pixels}"


def video_options(
    plan: Plan, rung: Rung, source: Source, *, shift: float = 0.0, threads: int = ENCODER_THREADS
) -> list[str]:
    """Options of one rung's encoder; `shift` is added to its CRF. Headers do not depend on the CRF."""
    crf = rung.crf + shift
    options = {"h264": _h264, "av1": _av1, "hevc": _hevc}[rung.codec](plan, rung, source, crf, threads)
    return [
        *options, "-maxrate", f"{rung.maxrate_kbps}k", "-bufsize", f"{rung.bufsize_kbps}k", "-g", str(plan.gop),
        "-flags", "+cgop", "-fps_mode", "passthrough",
    ]  # fmt: skip


def _h264(plan: Plan, rung: Rung, source: Source, crf: float, threads: int) -> list[str]:  # noqa: ARG001 - one shape
    return [
        "-c:v", "libx264", "-preset", rung.preset, "-profile:v", "high", "-crf", f"{crf:g}",
        "-keyint_min", str(plan.gop), "-sc_threshold", "0", "-x264-params", "stitchable=1", "-threads", str(threads),
    ]  # fmt: skip


def _av1(plan: Plan, rung: Rung, source: Source, crf: float, threads: int) -> list[str]:  # noqa: ARG001 - one shape
    return [
        "-c:v", "libsvtav1", "-preset", rung.preset, "-crf", str(round(crf)),
        "-svtav1-params", f"lp={threads}:scd=0:enable-overlays=0",
    ]  # fmt: skip


def _hevc(plan: Plan, rung: Rung, source: Source, crf: float, threads: int) -> list[str]:
    """HEVC Main10. HDR10 carries its mastering display and light levels in the headers (SMPTE ST 2086, CTA-861.3)."""
    told = {
        "log-level": "error", "pools": str(max(1, threads)), "frame-threads": "1", "keyint": str(plan.gop),
        "min-keyint": str(plan.gop), "scenecut": "0", "open-gop": "0", "repeat-headers": "0", "info": "0",
    }  # fmt: skip
    if rung.hdr:
        told |= {"hdr10": "1"} if source.mastering_display or source.max_cll else {}
        told |= {"master-display": source.mastering_display} if source.mastering_display else {}
        told |= {"max-cll": source.max_cll} if source.max_cll else {}
    params = ":".join(f"{name}={value}" for name, value in told.items())
    return [
        "-c:v", "libx265", "-preset", rung.preset, "-profile:v", "main10", "-crf", f"{crf:g}", "-tag:v", "hvc1",
        "-x265-params", params,
    ]  # fmt: skip


def segment_options(plan: Plan, folder: Path) -> list[str]:
    """An output of CMAF segments: `init.mp4`, `00000.m4s`, ... of the plan's length in a folder."""
    # Microseconds are cut, not rounded: ffmpeg splits at the first key frame at or after this time.
    seconds = f"{math.floor(plan.segment * 1_000_000) / 1_000_000:.6f}"
    return [
        "-avoid_negative_ts", "disabled", "-f", "hls", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod",
        "-hls_time", seconds, "-hls_segment_options", "movflags=+cmaf+skip_sidx", "-start_number", "0",
        "-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", str(folder / "%05d.m4s"),
        str(folder / "main.m3u8"),
    ]  # fmt: skip
