"""How ffmpeg is told to carry out a plan: pure functions."""

import math
from fractions import Fraction
from pathlib import Path

from transcoding.plan import Plan, Rung
from transcoding.source import Source

_TONE_MAPPING = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv"
)


def encode_arguments(plan: Plan, source: Source, out: Path, *, threads: int = 0) -> list[str]:
    """ffmpeg's arguments: one process, one decode, each rung scaled from the next larger one, all outputs at once.

    Every output is a folder of CMAF segments below `out`, which must exist with its folders (`folders`). The master's
    format is not guessed and nothing but plain files is opened. `threads` of each encoder; 0: the encoder decides.
    """
    arguments = [
        "-hide_banner", "-nostdin", "-y", "-v", "error", "-nostats", "-progress", "pipe:1", "-stats_period", "0.2",
        "-protocol_whitelist", "file,pipe", "-format_whitelist", source.container, "-i", f"file:{source.path}",
        "-filter_complex", filter_graph(plan, source),
    ]  # fmt: skip
    for number, rung in enumerate(plan.rungs):
        arguments += ["-map", f"[v{number}]", *_video_options(plan, rung, threads)]
        arguments += _segments(plan, out / "video" / rung.name)
    for rendition in plan.audio:
        arguments += ["-map", f"0:{rendition.stream_index}", "-af", _audio_filter(plan)]
        arguments += ["-c:a", "aac", "-b:a", f"{rendition.kbps}k"]
        arguments += _segments(plan, out / "audio" / rendition.name)
    return arguments


def folders(plan: Plan) -> list[Path]:
    """Where the renditions go, relative to the package."""
    video = [Path("video") / rung.name for rung in plan.rungs]
    return video + [Path("audio") / rendition.name for rendition in plan.audio]


def filter_graph(plan: Plan, source: Source) -> str:
    """`[0:v]` -> `[v0]`, `[v1]`, ...: largest rung first, each from the one before it."""
    prepare = ["bwdif=mode=send_field:deint=all"] if plan.deinterlace else []
    # A picture that begins after the sound stands still until then: every rung starts at zero.
    prepare.append(f"fps=fps={plan.frame_rate}:start_time=0")
    if plan.tone_map:
        prepare.append(_TONE_MAPPING)
    chains, inlet = [], f"[0:{source.video_index}]"
    for number, rung in enumerate(plan.rungs):
        steps = [*(prepare if number == 0 else []), _scale(rung)]
        if number + 1 < len(plan.rungs):
            chains.append(f"{inlet}{','.join(steps)},split[v{number}][c{number}]")
            inlet = f"[c{number}]"
        else:
            chains.append(f"{inlet}{','.join(steps)}[v{number}]")
    return ";".join(chains)


def _scale(rung: Rung) -> str:
    # Square pixels: players take RESOLUTION from the picture, and some break on anything else.
    return f"scale={rung.width}:{rung.height}:flags=bicubic:out_range=tv,setsar=1,format=yuv420p"


def _video_options(plan: Plan, rung: Rung, threads: int) -> list[str]:
    return [
        "-c:v", "libx264", "-preset", rung.preset, "-profile:v", "high", "-crf", f"{rung.crf:g}",
        "-maxrate", f"{rung.maxrate_kbps}k", "-bufsize", f"{rung.bufsize_kbps}k",
        "-g", str(plan.gop), "-keyint_min", str(plan.gop), "-sc_threshold", "0", "-flags", "+cgop",
        "-fps_mode", "passthrough", "-threads", str(threads),
    ]  # fmt: skip


def _audio_filter(plan: Plan) -> str:
    # As long as the picture. The encoder puts 1024 samples of its own in front, so that many less are given to it:
    # the playlists of sound and picture then add up to the same length.
    end = max(plan.duration - Fraction(1024, 48_000), Fraction(1, 1000))
    length = f"{float(end):.6f}"
    return (
        "aresample=48000:async=1:first_pts=0,aformat=sample_fmts=fltp:channel_layouts=stereo,"
        f"apad=whole_dur={length},atrim=end={length}"
    )


def _segments(plan: Plan, folder: Path) -> list[str]:
    # Microseconds are cut, not rounded: ffmpeg splits at the first key frame at or after this time.
    seconds = f"{math.floor(plan.segment * 1_000_000) / 1_000_000:.6f}"
    return [
        "-avoid_negative_ts", "disabled", "-f", "hls", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod",
        "-hls_time", seconds, "-hls_segment_options", "movflags=+cmaf+skip_sidx", "-start_number", "0",
        "-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", str(folder / "%05d.m4s"),
        str(folder / "main.m3u8"),
    ]  # fmt: skip
