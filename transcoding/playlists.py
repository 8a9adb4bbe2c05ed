"""HLS (RFC 8216, fragmented MP4) and DASH (ISO/IEC 23009-1) manifests from measured segments: pure functions.

Both describe the same files. All names are relative, so the package can be served from anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from xml.sax.saxutils import quoteattr

from transcoding.boxes import Segment, Track, seconds

_START_BPS = 2_000_000  # Apple's HLS authoring specification, 1.32: the first variant is near 2 Mbit/s
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_NAMES = {"en": "English", "ru": "Русский", "de": "Deutsch", "fr": "Français", "es": "Español", "it": "Italiano"}


@dataclass(frozen=True)
class Rendition:
    """One folder of segments below the package, as measured. `frame_rate` for video, `language` for audio."""

    kind: str  # 'video' or 'audio'
    name: str
    track: Track
    segments: tuple[Segment, ...]
    frame_rate: Fraction | None = None

    @property
    def folder(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def duration(self) -> Fraction:
        """Seconds that the playlist adds up to."""
        return seconds(sum(segment.duration for segment in self.segments), self.track)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def average_bps(self) -> int:
        return _ceil(self.size * 8 / self.duration)

    @property
    def peak_bps(self) -> int:
        """The most bits a second of any run of neighbouring segments that lasts half to one and a half targets.

        RFC 8216, 4.3.4.2 and 4.1. A rendition shorter than that is one run.
        """
        target = target_duration([self])
        peak = Fraction(0)
        for first in range(len(self.segments)):
            length, bits = Fraction(0), 0
            for segment in self.segments[first:]:
                length += seconds(segment.duration, self.track)
                bits += segment.size * 8
                if length > Fraction(3, 2) * target:
                    break
                if length >= Fraction(target, 2):
                    peak = max(peak, bits / length)
        return max(_ceil(peak), self.average_bps)


def target_duration(renditions: Sequence[Rendition]) -> int:
    """The longest segment in whole seconds, rounded as RFC 8216 compares it; one for all playlists of a package."""
    longest = max(seconds(segment.duration, r.track) for r in renditions for segment in r.segments)
    return max(1, int(longest + Fraction(1, 2)))


def media_playlist(rendition: Rendition, target: int) -> str:
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{target}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init.mp4"',
    ]
    for segment in rendition.segments:
        lines += [f"#EXTINF:{float(seconds(segment.duration, rendition.track)):.6f},", segment.name]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def master_playlist(video: Sequence[Rendition], audio: Sequence[Rendition]) -> str:
    """The variants, each with the one audio group; BANDWIDTH counts the worst audio rendition in."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for number, rendition in enumerate(audio):
        default = "YES" if number == 0 else "NO"
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="{_NAMES.get(rendition.name, rendition.name)}",'
            f'LANGUAGE="{rendition.name}",DEFAULT={default},AUTOSELECT=YES,CHANNELS="2",'
            f'URI="{rendition.folder}/main.m3u8"'
        )
    loudest = max((rendition.peak_bps for rendition in audio), default=0)
    fullest = max((rendition.average_bps for rendition in audio), default=0)
    for rendition in _start_first(video):
        track = rendition.track
        facts = [
            f"BANDWIDTH={rendition.peak_bps + loudest}",
            f"AVERAGE-BANDWIDTH={rendition.average_bps + fullest}",
            f'CODECS="{",".join([track.codec, *sorted({sound.track.codec for sound in audio})])}"',
            f"RESOLUTION={track.width}x{track.height}",
            f"FRAME-RATE={float(rendition.frame_rate or 0):.3f}",
            *(['AUDIO="aac"'] if audio else []),
        ]
        lines += [f"#EXT-X-STREAM-INF:{','.join(facts)}", f"{rendition.folder}/main.m3u8"]
    return "\n".join([*lines, ""])


def _start_first(video: Sequence[Rendition]) -> list[Rendition]:
    """The variant to start with in front, the others from high to low: players begin with the first one."""
    first = min(video, key=lambda rendition: abs(rendition.average_bps - _START_BPS))
    rest = [rendition for rendition in video if rendition is not first]
    return [first, *sorted(rest, key=lambda rendition: -rendition.average_bps)]


def dash_manifest(video: Sequence[Rendition], audio: Sequence[Rendition]) -> str:
    """A static MPD with explicit segment timelines over the same files."""
    length = max(rendition.duration for rendition in [*video, *audio])
    root = _tag(
        "MPD",
        xmlns="urn:mpeg:dash:schema:mpd:2011",
        profiles="urn:mpeg:dash:profile:isoff-live:2011",
        type="static",
        mediaPresentationDuration=f"PT{float(length):.6f}S",
        minBufferTime=f"PT{target_duration([*video, *audio])}S",
    )
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', root, " " + _tag("Period", id="0", start="PT0S")]
    for kind, group in [("video", video), *(("audio", [rendition]) for rendition in audio)]:
        language = {"lang": group[0].name} if kind == "audio" else {}
        common = {"contentType": kind, "mimeType": f"{kind}/mp4", "segmentAlignment": "true", "startWithSAP": "1"}
        lines.append("  " + _tag("AdaptationSet", **common, **language))
        lines += [f"   {line}" for rendition in group for line in _representation(rendition)]
        lines.append("  </AdaptationSet>")
    return "\n".join([*lines, " </Period>", "</MPD>", ""])


def _representation(rendition: Rendition) -> list[str]:
    track = rendition.track
    if rendition.kind == "video":
        size = {"width": f"{track.width}", "height": f"{track.height}"}
        facts, inside = size | {"sar": "1:1", "frameRate": str(rendition.frame_rate)}, []
    else:
        facts = {"audioSamplingRate": f"{track.timescale}"}
        inside = [" " + _empty_tag("AudioChannelConfiguration", schemeIdUri=_CHANNELS, value="2")]
    template = _tag(
        "SegmentTemplate",
        timescale=f"{track.timescale}",
        startNumber="0",
        initialization=f"{rendition.folder}/init.mp4",
        media=f"{rendition.folder}/$Number%05d$.m4s",
    )
    name = f"{rendition.kind}-{rendition.name}"
    return [
        _tag("Representation", id=name, codecs=track.codec, bandwidth=f"{rendition.peak_bps}", **facts),
        *inside,
        f" {template}",
        "  <SegmentTimeline>",
        *(f"   {line}" for line in _timeline(rendition.segments)),
        "  </SegmentTimeline>",
        " </SegmentTemplate>",
        "</Representation>",
    ]


def _timeline(segments: Sequence[Segment]) -> list[str]:
    """Runs of equal durations, as `S` elements."""
    lines, at = [], segments[0].start
    for duration, run in groupby(segment.duration for segment in segments):
        count = len(list(run))
        repeat = {"r": str(count - 1)} if count > 1 else {}
        lines.append(_empty_tag("S", t=str(at), d=str(duration), **repeat))
        at += duration * count
    return lines


def _tag(name: str, /, **attributes: str) -> str:
    words = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name} {words}>"


def _empty_tag(name: str, /, **attributes: str) -> str:
    return _tag(name, **attributes)[:-1] + "/>"


def _ceil(value: Fraction) -> int:
    return -int(-value // 1)
