"""Which renditions a master gets: pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import fmean
from typing import Any

from matinee import timing
from transcoding.hull import Probe, shift_crf
from transcoding.ladder import HEIGHTS, TREATMENTS, Rung, Treatment, fixed_rungs, hevc_rungs, marked, measured_rungs
from transcoding.source import Source

# Changes whenever the same source would be encoded or packaged differently: failed masters are then tried again.
PLAN_VERSION = "3"
GOP_S = 2
GOPS_PER_SEGMENT = 3
PARTED_FROM_S = 600
_CHUNK_SEGMENTS = 10
_CHUNKS_OF_UNSEEKABLE = 4  # each decodes the film from its beginning
# Quantiles (at 5 %, 15 %, ... 95 %) of the bandwidth of viewers, in kbit/s: log-normal, median 8 Mbit/s, sigma 0.8.
DEFAULT_AUDIENCE = (2146.0, 3491.0, 4664.0, 5878.0, 7235.0, 8846.0, 10_888.0, 13_722.0, 18_332.0, 29_826.0)
_SMALL = 864 * 486  # pixels
_SURROUND, _SURROUND_KBPS = 6, 320  # channels


@dataclass(frozen=True)
class AudioRendition:
    """AAC-LC, 48 kHz, stereo (2 channels) or 5.1 (6), made from one stream of the source."""

    name: str
    language: str
    channels: int
    stream_index: int
    kbps: int = 128


@dataclass(frozen=True)
class SubtitleRendition:
    """WebVTT made from a text stream of the source, or from a file at `path` below the media store."""

    name: str
    language: str
    stream_index: int | None = None
    path: str | None = None
    forced: bool = False


@dataclass(frozen=True)
class Sidecar:
    """A subtitle file that came with a master; `path` is below the media store."""

    language: str
    path: str
    forced: bool = False


@dataclass(frozen=True)
class Chunk:
    """A run of whole segments of every rung, encoded by one worker at a time."""

    number: int
    first_segment: int
    segments: int
    first_frame: int
    frames: int


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a package. `frames` at `frame_rate` is the length of every rung.

    All rungs share the rate and the closed GOP of `gop` frames, so a player may switch at every segment.
    `crf_shifts`, where there are any, are one a chunk and are added to every rung's CRF.
    """

    frame_rate: Fraction
    gop: int
    frames: int
    rungs: tuple[Rung, ...]
    audio: tuple[AudioRendition, ...]
    subtitles: tuple[SubtitleRendition, ...] = ()
    treatment: str = "fast"
    chunk_segments: int = _CHUNK_SEGMENTS
    deinterlace: bool = False
    tone_map: bool = False
    crf_shifts: tuple[float, ...] = ()
    version: str = PLAN_VERSION

    @property
    def duration(self) -> Fraction:
        """Seconds."""
        return self.frames / self.frame_rate

    @property
    def segment(self) -> Fraction:
        """Seconds of a whole segment: three GOPs."""
        return self.segment_frames / self.frame_rate

    @property
    def segment_frames(self) -> int:
        return GOPS_PER_SEGMENT * self.gop

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The film cut at segment boundaries; the last chunk also takes a last segment that is not whole."""
        whole, segments = self.frames // self.segment_frames, -(-self.frames // self.segment_frames)
        starts = range(0, max(1, whole), self.chunk_segments)
        made = []
        for number, (first, end) in enumerate(pairwise([*starts, segments])):
            start = first * self.segment_frames
            frames = min(end * self.segment_frames, self.frames) - start
            made.append(Chunk(number, first, end - first, start, frames))
        return tuple(made)

    @property
    def parts(self) -> tuple[tuple[Rung, ...], ...]:
        """Rungs that are encoded and published together: of a long film the small ones come first, two at least."""
        rising = sorted((rung for rung in self.rungs if rung.codec == "h264"), key=lambda rung: rung.maxrate_kbps)
        early = {rung.name for rung in rising[:2]} | {r.name for r in self.rungs if r.width * r.height <= _SMALL}
        small = tuple(rung for rung in self.rungs if rung.name in early)
        large = tuple(rung for rung in self.rungs if rung.name not in early)
        if self.duration <= PARTED_FROM_S or not large:
            return (self.rungs,)
        return (small, large)

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` makes the same plan of them again."""
        return asdict(self) | {"frame_rate": str(self.frame_rate)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Plan":
        return cls(
            **{
                **told,
                "frame_rate": Fraction(told["frame_rate"]),
                "rungs": tuple(Rung(**rung) for rung in told["rungs"]),
                "audio": tuple(AudioRendition(**track) for track in told["audio"]),
                "subtitles": tuple(SubtitleRendition(**track) for track in told["subtitles"]),
                "crf_shifts": tuple(told["crf_shifts"]),
            }
        )


def plan_ladder(
    source: Source,
    treatment: Treatment = TREATMENTS["fast"],
    probes: Sequence[Probe] = (),
    *,
    audience: Sequence[float] = DEFAULT_AUDIENCE,
    sidecars: Sequence[Sidecar] = (),
    watermark: bool = False,
    tone_mapper: bool = True,
    heights: tuple[int, ...] | None = None,
) -> Plan:
    """The renditions of a source.

    With `probes`, and a treatment that wants them, the rungs lie on the film's own convex hull, up to the treatment's
    VMAF, spaced for the `audience` (rising quantiles of viewers' kbit/s). Otherwise they have one quality and the usual
    `heights` up to the source's; a smaller source gets a single rung at its own even size. HDR10 adds HEVC Main10 at
    the largest sizes, unless the treatment is without probes.

    The natural rate is kept up to 60 frames/s, an uneven one becomes the nearest usual one, interlaced fields become
    frames. Sound: each language in stereo, and in 5.1 where it has six channels. Subtitles: `sidecars`, then the text
    streams, one a language and kind. HDR is tone-mapped to SDR where the ffmpeg at hand can (`tone_mapper`);
    elsewhere the codes are taken as they are, which looks flat but plays.
    """
    rate = output_rate(source)
    if treatment.probes and probes:
        rungs = measured_rungs(source, treatment, probes, audience)
    else:
        rungs = fixed_rungs(source, treatment, heights or HEIGHTS)
    if source.transfer == "pq" and treatment.probes:
        rungs += hevc_rungs(rungs)
    plan = Plan(
        frame_rate=rate,
        gop=max(1, round(GOP_S * rate)),
        frames=max(1, round((source.offset + source.duration) * rate)),
        rungs=marked(rungs) if watermark else rungs,
        audio=_audio(source),
        subtitles=_subtitles(source, sidecars),
        treatment=treatment.name,
        deinterlace=source.interlaced,
        tone_map=source.hdr and tone_mapper,
    )
    if not source.seekable:
        segments = -(-plan.frames // plan.segment_frames)
        plan = replace(plan, chunk_segments=max(_CHUNK_SEGMENTS, -(-segments // _CHUNKS_OF_UNSEEKABLE)))
    return replace(plan, crf_shifts=_shifts(plan, probes)) if treatment.shot_aware and probes else plan


def _shifts(plan: Plan, probes: Sequence[Probe]) -> tuple[float, ...]:
    """One a chunk: what its own pieces ask for to look like the best rung on average; none where nothing is asked."""
    best = plan.rungs[0]
    pieces = {probe.sample: probe.start_s for probe in probes if probe.codec == best.codec}
    asked: dict[int, list[float]] = {}
    for sample, start_s in pieces.items():
        own = [probe for probe in probes if (probe.sample, probe.codec) == (sample, best.codec)]
        frame = start_s * plan.frame_rate
        chunk = next(c.number for c in reversed(plan.chunks) if c.first_frame <= frame + 0.5)
        asked.setdefault(chunk, []).append(shift_crf(own, best.height, best.crf, best.predicted_vmaf or 0.0))
    shifts = tuple(round(2 * fmean(asked.get(chunk.number, [0.0]))) / 2 for chunk in plan.chunks)
    return shifts if any(shifts) and len(shifts) > 1 else ()


def output_rate(source: Source) -> Fraction:
    """Frames per second of every rung."""
    return timing.output_rate(source.frame_rate, interlaced=source.interlaced, steady=source.steady)


def _audio(source: Source) -> tuple[AudioRendition, ...]:
    """Of a language the first track counts; later ones are commentary or the same sound once more."""
    first: dict[str, int] = {}
    surround: dict[str, int] = {}
    for track in source.audio:
        first.setdefault(track.language, track.index)
        if track.channels >= _SURROUND:
            surround.setdefault(track.language, track.index)
    made = [AudioRendition(language, language, 2, index) for language, index in first.items()]
    for language, index in surround.items():
        made.append(AudioRendition(f"{language}-{_SURROUND}ch", language, _SURROUND, index, _SURROUND_KBPS))
    return tuple(made)


def _subtitles(source: Source, sidecars: Sequence[Sidecar]) -> tuple[SubtitleRendition, ...]:
    """Files that were laid beside the film win over what is in it; of one language and kind the first counts."""
    made: dict[str, SubtitleRendition] = {}
    for file in sidecars:
        name = _text_name(file.language, file.forced)
        made.setdefault(name, SubtitleRendition(name, file.language, path=file.path, forced=file.forced))
    for track in source.subtitles:
        name = _text_name(track.language, track.forced)
        if track.is_text:
            made.setdefault(name, SubtitleRendition(name, track.language, track.index, forced=track.forced))
    return tuple(made.values())


def _text_name(language: str, forced: bool) -> str:
    return f"{language}-forced" if forced else language
