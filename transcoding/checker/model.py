"""What was read of a package: the master playlist, every media playlist with its measured segments, the MPD.

Seconds are exact fractions. Facts about a whole package that several rules need are computed here, once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from transcoding.checker.bitstream import Codec, family, read_codec
from transcoding.checker.playlist import Entry, Listing, Media, Variant
from transcoding.checker.reader import Response
from transcoding.checker.samples import Timeline, Track

_NANO = 1_000_000_000
_LONGEST_RUN = 100  # segments; more of them in one and a half target durations are no media


@dataclass(frozen=True)
class Fault:
    """Something that could not be read as what it claims to be. `kind`: file, playlist, boxes, key."""

    kind: str
    file: str
    words: str


@dataclass(frozen=True)
class Cue:
    start: Fraction
    end: Fraction
    text: str


@dataclass(frozen=True)
class Segment:
    """A segment as listed and as it is: `file` resolved, `size` in bytes as they travel; None: could not be read."""

    entry: Entry
    file: str
    size: int | None = None
    container: str | None = None  # fmp4, ts, webvtt, packed, unknown
    tracks: tuple[Track, ...] = ()
    timelines: tuple[Timeline, ...] = ()
    fragments: int = 0
    stray_counters: int = 0  # continuity counters of a transport stream that do not follow
    programs: tuple[int, ...] = ()  # stream types in a transport stream's program map
    cues: tuple[Cue, ...] = ()
    mapped: bool = False  # WebVTT with an X-TIMESTAMP-MAP
    sealed: bool = False  # encrypted, and no key was at hand
    broken: str | None = None

    @property
    def timeline(self) -> Timeline | None:
        return self.timelines[0] if self.timelines else None


@dataclass(frozen=True)
class Rendition:
    """One media playlist. `role`: video, audio, text or trick. `declared`: the codecs that masters name for it."""

    name: str
    role: str
    listing: Listing
    segments: tuple[Segment, ...]
    tracks: tuple[Track, ...]

    @property
    def measured(self) -> tuple[Segment, ...]:
        """Segments whose samples could be read."""
        return tuple(segment for segment in self.segments if segment.timelines)

    @property
    def readable(self) -> bool:
        return bool(self.segments) and len(self.measured) == len(self.segments)

    @property
    def containers(self) -> set[str]:
        return {segment.container for segment in self.segments if segment.container}

    @property
    def codecs(self) -> tuple[Codec, ...]:
        return tuple(read_codec(track.codec) for track in self.tracks)

    @property
    def picture(self) -> Track | None:
        return next((track for track in self.tracks if track.handler == "vide"), None)

    @property
    def sounds(self) -> tuple[Track, ...]:
        return tuple(track for track in self.tracks if track.handler == "soun")

    @property
    def duration(self) -> Fraction:
        """Seconds that the playlist adds up to."""
        return self.listing.duration

    @property
    def frame(self) -> Fraction | None:
        """Seconds of the longest sample."""
        return max((segment.timelines[0].longest for segment in self.measured), default=None)

    @property
    def frame_rate(self) -> Fraction | None:
        """Samples a second over all that was measured."""
        spans = [segment.timelines[0] for segment in self.measured]
        length = sum((span.end - span.start for span in spans), Fraction(0))
        return sum(span.samples for span in spans) / length if length > 0 else None

    @cached_property
    def rates(self) -> tuple[int, int] | None:
        """Average and peak bits a second; None where a size is unknown.

        The peak as RFC 8216, 4.1 defines it: over any run of neighbouring segments that lasts half to one and a half
        target durations. A playlist that is shorter than that is one run.
        """
        if not self.segments or any(segment.size is None for segment in self.segments) or self.duration <= 0:
            return None
        bits = [8 * (segment.size or 0) for segment in self.segments]
        average = sum(bits) / self.duration
        # In whole nanoseconds, which is as fine as playlists are read.
        lengths = [int(segment.entry.duration * _NANO) for segment in self.segments]
        target, peak = (self.listing.target or 6) * _NANO, 0.0
        for first in range(len(bits)):
            length = held = 0
            for place in range(first, min(first + _LONGEST_RUN, len(bits))):
                length, held = length + lengths[place], held + bits[place]
                if length * 2 > target * 3:
                    break
                if length * 2 >= target and length > 0:
                    peak = max(peak, held * _NANO / length)
        return round(average), round(max(peak, average))

    @property
    def dynamic_range(self) -> str | None:
        """SDR, PQ or HLG by the picture's transfer characteristics; None where they are not known.

        H.264 that does not tell them is SDR; of other codecs only the container's colour box is read.
        """
        facts = self.picture.video if self.picture else None
        if facts is None or self.picture is None or (facts.transfer is None and family(self.picture.codec) != "avc"):
            return None
        return {16: "PQ", 18: "HLG"}.get(facts.transfer or 0, "SDR")


@dataclass(frozen=True)
class DashTrack:
    """A Representation: the files that it names and the timeline that it tells (none of a lone file), in seconds."""

    name: str
    codecs: str
    init: str | None
    files: tuple[str, ...]
    spans: tuple[tuple[Fraction, Fraction], ...]
    content: str


@dataclass(frozen=True)
class Dash:
    name: str
    duration: Fraction | None
    tracks: tuple[DashTrack, ...]
    faults: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # files that it names and that are not there


@dataclass
class Package:
    """Everything that rules look at. `master` is None where the first playlist was a media playlist itself."""

    location: str
    is_web: bool
    master: Listing | None
    renditions: dict[str, Rendition]
    faults: list[Fault] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    dash: Dash | None = None
    inits: set[str] = field(default_factory=set)  # initialisation segments that were read
    texts: dict[str, str] = field(default_factory=dict)  # playlists as they are, for a second opinion

    def role(self, *names: str) -> list[Rendition]:
        return [rendition for rendition in self.renditions.values() if rendition.role in names]

    @property
    def variants(self) -> list[Variant]:
        return [v for v in self.master.variants if not v.trick] if self.master else []

    @property
    def tricks(self) -> list[Variant]:
        return [v for v in self.master.variants if v.trick] if self.master else []

    def media(self, kind: str | None = None) -> list[Media]:
        return [m for m in self.master.media if kind in (None, m.kind)] if self.master else []

    def group(self, variant: Variant, attribute: str = "AUDIO") -> list[Media]:
        wanted = variant.attributes.get(attribute)
        return [media for media in self.media(attribute) if wanted is not None and media.group == wanted]

    @property
    def video_variants(self) -> list[Variant]:
        """Variants with a picture, as far as their words or their boxes tell."""
        return [variant for variant in self.variants if self._has_picture(variant)]

    def _has_picture(self, variant: Variant) -> bool:
        rendition = self.renditions.get(variant.uri)
        if rendition is not None and rendition.picture is not None:
            return True
        if any(codec.is_video for codec in variant.codecs) or "RESOLUTION" in variant.attributes:
            return True
        return not variant.codecs and not (rendition is not None and rendition.tracks)

    def rates(self, variant: Variant) -> tuple[int, int] | None:
        """Average and peak of a variant with the heaviest rendition of its audio group."""
        own = self.renditions.get(variant.uri)
        heard = [self.renditions[m.uri] for m in self.group(variant) if m.uri in self.renditions and m.uri]
        rates = [rendition.rates for rendition in heard if rendition.name != variant.uri]
        if own is None or own.rates is None or any(rate is None for rate in rates):
            return None
        known = [rate for rate in rates if rate is not None]
        average, peak = (max((rate[place] for rate in known), default=0) for place in (0, 1))
        return own.rates[0] + average, own.rates[1] + peak

    def codecs(self, variant: Variant) -> Iterator[tuple[str, Codec]]:
        """Where and what: the words of a variant, and the sample entries of its picture."""
        for codec in variant.codecs:
            yield self.line(variant), codec
        rendition = self.renditions.get(variant.uri)
        for codec in rendition.codecs if rendition else ():
            yield f"{self.short(variant.uri)} (sample entry)", codec

    def short(self, name: str) -> str:
        """A file as people see it: relative to the package where it can be."""
        base = self.location.rsplit("/", 1)[0] + "/" if self.is_web else ""
        return name.removeprefix(base)

    def line(self, tag: Variant | Media) -> str:
        """Where a tag of the master playlist stands."""
        return f"{self.short(self.master.uri)} line {tag.line}" if self.master else f"line {tag.line}"

    @property
    def is_on_demand(self) -> bool:
        return all(r.listing.is_whole or r.listing.kind == "VOD" for r in self.role("video", "audio"))


def spread(values: Sequence[Fraction]) -> Fraction:
    return max(values) - min(values) if values else Fraction(0)
