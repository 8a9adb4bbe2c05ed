"""Trick play: pictures of their own, one a second, each a segment that decodes alone.

They are what a player shows while a viewer scrubs (Apple's HLS authoring specification, 6.1 and 6.2), and what the
thumbnails are made of.
"""

import math
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from transcoding import ffmpeg
from transcoding.arguments import QUIET
from transcoding.boxes import read_segment, read_track
from transcoding.errors import TranscodingError, TransientError
from transcoding.plan import Plan, Rung

_ENOUGH, _MOST = 360, 480  # lines
# A key frame costs many times what another frame does, and is on screen for an instant.
_CRF = 32
_PATIENCE = 10  # seconds for each second of film
_LEAST_TIMEOUT_S = 300


def trick_rung(plan: Plan, draft: Path) -> Rung:
    """The rung that the pictures are taken from: of those in the draft an SDR one of 360 to 480 lines, or the nearest.

    Raises:
        TranscodingError: the draft has no SDR rung.
    """
    there = [rung for rung in plan.rungs if not rung.hdr and (draft / "video" / rung.name / "init.mp4").is_file()]
    if not there:
        raise TranscodingError(f"no SDR rung in {draft} that trick play could be made of")
    lines = {rung: min(rung.width, rung.height) for rung in there}
    small = [rung for rung in there if lines[rung] <= _MOST and rung.codec == "h264"]
    enough = [rung for rung in small if lines[rung] >= _ENOUGH]
    return max(small, key=lines.__getitem__) if small and not enough else min(enough or there, key=lines.__getitem__)


def write_iframes(draft: Path, plan: Plan, *, cancel: threading.Event | None = None) -> None:
    """Write `iframes/<rung>/init.mp4`, `00000.m4s`, ... below a draft whose video is finished.

    Picture n is what is on screen at second n; its segment lasts a second, the last one until the film's end. H.264,
    as large as the rung.

    Raises:
        TransientError: what ffmpeg wrote is not whole, as on a full disk, where it ends as if all were well.
        TranscodingError: there is no rung to take them from, or ffmpeg failed.
    """
    rung = trick_rung(plan, draft)
    folder = draft / "iframes" / rung.name
    folder.mkdir(parents=True)
    names = sorted(path.name for path in (draft / "video" / rung.name).glob("*.m4s"))
    with playlist(draft / "video" / rung.name, names, plan.segment) as listed:
        ffmpeg.run(
            iframe_arguments(plan, listed.relative_to(draft), folder.relative_to(draft)),
            cwd=draft,
            timeout_s=max(_LEAST_TIMEOUT_S, _PATIENCE * float(plan.duration)),
            cancel=cancel,
        )
    (folder / "main.m3u8").unlink()
    made, expected = len(list(folder.glob("*.m4s"))), pictures(plan)
    if made != expected:
        raise TranscodingError(f"trick play of {rung.name} has {made} pictures, {expected} were expected")
    _require_whole(folder)


def _require_whole(folder: Path) -> None:
    try:
        read_track(folder / "init.mp4")
        for path in folder.glob("*.m4s"):
            if (samples := read_segment(path).samples) != 1:
                raise TransientError(f"{path.name} holds {samples} pictures")
    except (TranscodingError, OSError, struct.error, IndexError) as error:
        raise TransientError(f"the pictures for trick play are not whole: {error}") from error


def pictures(plan: Plan) -> int:
    """How many pictures there are: one for each second that has begun."""
    return math.ceil(plan.duration)


def iframe_arguments(plan: Plan, listed: Path, folder: Path) -> list[str]:
    """ffmpeg's arguments: `listed` is a playlist of the rung, relative to where ffmpeg runs, as is `folder`."""
    scale = plan.frame_rate.numerator
    # The last one is shorter, so that the pictures last as long as the film to the tick.
    rest = int((plan.duration - (pictures(plan) - 1)) * scale)
    timing = f"setts=duration='if(eq(N,{pictures(plan) - 1}),{rest},{scale})'"
    return [
        *QUIET, "-protocol_whitelist", "file,pipe", "-i", f"file:{listed}",
        # `round=up`: at each second the last picture that came before it.
        "-vf", f"fps=fps=1:start_time=0:round=up,trim=end_frame={pictures(plan)}", "-enc_time_base", f"1/{scale}",
        "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-crf", str(_CRF), "-g", "1", "-threads", "2",
        "-fps_mode", "passthrough", "-bsf:v", timing,
        "-f", "hls", "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod", "-hls_time", "0.9",
        "-hls_segment_options", f"movflags=+cmaf+skip_sidx:video_track_timescale={scale}", "-start_number", "0",
        "-hls_fmp4_init_filename", "init.mp4", "-hls_segment_filename", str(folder / "%05d.m4s"),
        str(folder / "main.m3u8"),
    ]  # fmt: skip


@contextmanager
def playlist(folder: Path, names: Sequence[str], seconds: Fraction) -> Iterator[Path]:
    """A playlist of some segments in a folder, each of about `seconds`, for ffmpeg; gone afterwards."""
    path = folder / ".some.m3u8"
    entries = "".join(f"#EXTINF:{float(seconds):.6f},\n{name}\n" for name in names)
    head = f'#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{math.ceil(seconds)}\n#EXT-X-MAP:URI="init.mp4"\n'
    path.write_text(f"{head}{entries}#EXT-X-ENDLIST\n")
    try:
        yield path
    finally:
        path.unlink()
