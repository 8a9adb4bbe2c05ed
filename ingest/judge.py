"""The verdict on an upload: accepted, with what is corrected on its way to the screen, or refused, with the reason.

The look runs in a process that can open this file alone; what it may take is limited. `corrections` is pure.
"""

import stat
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ingest.probe import Probe, RefusedError, Stream, probe
from matinee import film
from matinee.confined import ExceededError
from matinee.film import PICTURE_SUBTITLES
from matinee.sandbox import SandboxError
from matinee.timing import output_rate

_APART_MS = 100  # sound and picture may begin so far apart before anybody could notice
_LONGER_MS = 1000
_SPEAKERS = {1: "mono", 6: "5.1", 8: "7.1"}


@dataclass(frozen=True)
class Verdict:
    """`reason` where it is refused; `corrections` (short stable words with their values) and `probe` where accepted."""

    accepted: bool
    reason: str | None = None
    corrections: tuple[str, ...] = ()
    probe: Probe | None = None

    def as_json(self) -> dict[str, Any]:
        found = self.probe.as_json() if self.probe else None
        return {
            "accepted": self.accepted, "reason": self.reason, "corrections": list(self.corrections), "probe": found,
        }  # fmt: skip


def judge(path: Path) -> Verdict:
    """Look into an upload and say whether it can become a film; well under a second for a short one.

    Raises:
        OSError: it cannot be read.
        SandboxError: nothing can be looked into on this machine.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        return Verdict(False, "not a regular file")
    with path.open("rb"):
        pass  # whether it can be read is not a question of the sandbox
    try:
        found = Probe.from_json(film.confined("ingest.judge:look", path))
        return Verdict(True, None, corrections(found), found)
    except RefusedError as refused:
        return Verdict(False, str(refused))
    except ExceededError as exceeded:
        return Verdict(False, f"looking into it {exceeded}: damaged, or made to do harm")
    except (OSError, SandboxError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever one file brings about, the files after it are looked into
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Verdict(False, f"looking into it failed ({lines[-1]}): damaged, or of a kind that is not known yet")


def look(path: str) -> dict[str, Any]:
    """The probe as JSON; raises as `ingest.probe.probe` does."""
    return probe(Path(path)).as_json()


def corrections(found: Probe) -> tuple[str, ...]:
    """What must be corrected for a player, in the order of picture, sound, subtitles."""
    return (*_of_the_size(found), *_of_the_frames(found), *_of_the_sound(found), *_of_the_subtitles(found))


def _of_the_size(found: Probe) -> list[str]:
    made = []
    if found.rotation:
        made.append(f"rotate {found.rotation}")
    width, height = round(found.width * Fraction(found.sar.replace(":", "/"))), found.height
    if width != found.width:
        made.append(f"square pixels {width}x{height}")
    if width % 2 or height % 2:
        made.append(f"crop odd size {max(2, width // 2 * 2)}x{max(2, height // 2 * 2)}")
    return made


def _of_the_frames(found: Probe) -> list[str]:
    made = []
    rate = Fraction(found.frame_rate)
    target = output_rate(rate, interlaced=found.interlaced, steady=not found.vfr)
    if found.interlaced:
        made.append(f"deinterlace {_number(rate)}i->{_number(target)}p")
    elif found.vfr:
        made.append(f"vfr->{_number(target)}")
    elif abs(target / rate - 1) > Fraction(1, 100):
        made.append(f"frame rate {_number(rate)}->{_number(target)}")
    if found.hdr:
        made.append(f"tone-map {found.hdr}")
    elif found.bit_depth > 8:
        made.append(f"{found.bit_depth} bit->8 bit")
    if found.chroma != "4:2:0":
        made.append(f"{found.chroma}->4:2:0")
    others = sum(s.kind == "video" and not s.cover and s.index != found.video_index for s in found.streams)
    if others:
        made.append(f"drop {others} other video{'s' if others > 1 else ''}")
    return made


def _of_the_sound(found: Probe) -> list[str]:
    sounds = [stream for stream in found.streams if stream.kind == "audio"]
    playable = [stream for stream in sounds if stream.codec]
    made = [] if playable else ["no audio"]
    if len(playable) < len(sounds):
        made.append(f"drop {len(sounds) - len(playable)} undecodable audio")
    picture = next(stream for stream in found.streams if stream.index == found.video_index)
    if playable:
        made += _late(picture, playable[0])
    for channels in dict.fromkeys(stream.channels or 0 for stream in playable):
        if channels == 1:
            made.append("mono->stereo")
        elif channels > 2:
            kept = "5.1" if channels >= 6 else None
            name = _SPEAKERS.get(channels, f"{channels} channels")
            made.append(f"downmix {name}->stereo" + (f", {kept} kept" if kept else ""))
    rates = sorted({stream.sample_rate for stream in playable if stream.sample_rate} - {48_000})
    return made + [f"resample {_number(Fraction(rate, 1000))} kHz" for rate in rates]


def _late(picture: Stream, sound: Stream) -> list[str]:
    if None in (picture.start_ms, picture.end_ms, sound.start_ms, sound.end_ms):
        return []
    made = []
    late, longer = (sound.start_ms or 0) - (picture.start_ms or 0), (sound.end_ms or 0) - (picture.end_ms or 0)
    if abs(late) > _APART_MS:
        made.append(f"{'audio' if late > 0 else 'picture'} {abs(late) / 1000:.1f} s late")
    if abs(longer) > _LONGER_MS:
        made.append(f"{'cut' if longer > 0 else 'pad'} audio by {abs(longer) / 1000:.1f} s")
    return made


def _of_the_subtitles(found: Probe) -> list[str]:
    texts = [stream for stream in found.streams if stream.kind == "subtitle"]
    pictures = sum(stream.codec is None or stream.codec in PICTURE_SUBTITLES for stream in texts)
    made = [f"drop {pictures} picture subtitle{'s' if pictures > 1 else ''}"] if pictures else []
    end = next(stream for stream in found.streams if stream.index == found.video_index).end_ms
    last = max((stream.end_ms or 0 for stream in texts), default=0)
    if end is not None and last > end + _LONGER_MS:
        made.append(f"cut subtitles to {end / 1000:.1f} s")
    return made


def _number(value: Fraction) -> str:
    return f"{float(value):.3f}".rstrip("0").rstrip(".")
