"""What a package consists of, as measured: folders of segments with their times, sizes and bit rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from transcoding.boxes import Segment, Track, seconds


@dataclass(frozen=True)
class Rendition:
    """One folder of segments below the package. `frame_rate` for pictures, `language` for sound.

    `twins`: bytes of the other variant of each segment, where a session watermark chooses between two.
    """

    kind: str  # 'video', 'audio' or 'iframes'
    name: str
    track: Track
    segments: tuple[Segment, ...]
    frame_rate: Fraction | None = None
    language: str = "und"
    twins: tuple[int, ...] = ()

    @property
    def folder(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def duration(self) -> Fraction:
        """Seconds that the playlist adds up to."""
        return seconds(sum(segment.duration for segment in self.segments), self.track)

    @property
    def frames(self) -> int:
        return sum(segment.samples for segment in self.segments)

    @property
    def size(self) -> int:
        """Bytes of all segments, twins included."""
        return sum(segment.size for segment in self.segments) + sum(self.twins)

    @property
    def served(self) -> tuple[int, ...]:
        """Bytes of each segment as a player may get it: the larger of the two variants."""
        sizes = tuple(segment.size for segment in self.segments)
        return tuple(map(max, sizes, self.twins)) if self.twins else sizes

    @property
    def average_bps(self) -> int:
        return _ceil(sum(self.served) * 8 / self.duration)

    @property
    def peak_bps(self) -> int:
        """The most bits a second of any run of neighbouring segments that lasts half to one and a half targets.

        RFC 8216, 4.3.4.2 and 4.1. A rendition shorter than that is one run.
        """
        target = target_duration([self])
        served = self.served
        peak = Fraction(0)
        for first in range(len(self.segments)):
            length, bits = Fraction(0), 0
            for segment, size in zip(self.segments[first:], served[first:], strict=True):
                length += seconds(segment.duration, self.track)
                bits += size * 8
                if length > Fraction(3, 2) * target:
                    break
                if length >= Fraction(target, 2):
                    peak = max(peak, bits / length)
        return max(_ceil(peak), self.average_bps)

    @property
    def codec(self) -> str:
        """h264, hevc, av1 or aac: what the RFC 6381 name begins with, in the words of a plan."""
        words = {"avc": "h264", "hvc": "hevc", "hev": "hevc", "av0": "av1", "mp4": "aac"}
        return words.get(self.track.codec[:3], self.track.codec)


@dataclass(frozen=True)
class TextRendition:
    """Segmented WebVTT, `subtitles/<name>/NNNNN.vtt`; `durations` in seconds, those of the video's segments."""

    name: str
    language: str
    forced: bool
    durations: tuple[Fraction, ...]

    @property
    def folder(self) -> str:
        return f"subtitles/{self.name}"


@dataclass(frozen=True)
class Renditions:
    """All of a package. `segment`: seconds of a whole segment of video."""

    video: tuple[Rendition, ...]
    audio: tuple[Rendition, ...]
    iframes: tuple[Rendition, ...]
    text: tuple[TextRendition, ...]
    segment: Fraction

    @property
    def media(self) -> tuple[Rendition, ...]:
        """What consists of MP4 segments."""
        return self.video + self.audio + self.iframes

    @property
    def target(self) -> int:
        """The target duration of all playlists but those of key frames."""
        return target_duration([*self.video, *self.audio])


def target_duration(renditions: Sequence[Rendition]) -> int:
    """The longest segment in whole seconds, rounded as RFC 8216 compares it; one for all playlists of a package."""
    longest = max(seconds(segment.duration, r.track) for r in renditions for segment in r.segments)
    return max(1, int(longest + Fraction(1, 2)))


def _ceil(value: Fraction) -> int:
    return -int(-value // 1)
