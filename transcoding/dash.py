"""A static DASH manifest (ISO/IEC 23009-1) over the files of a clear package: pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from xml.sax.saxutils import quoteattr

from transcoding.boxes import Segment
from transcoding.renditions import Rendition, Renditions, TextRendition

_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_ROLE = "urn:mpeg:dash:role:2011"
_CICP = "urn:mpeg:mpegB:cicp:"


def dash_manifest(renditions: Renditions) -> str:
    """Explicit segment timelines; each codec and range, each sound and each text is an adaptation set of its own.

    Key frames for trick play are left out: players that do not know what marks them (ffmpeg's, for one) take them for
    the film.
    """
    length = max(rendition.duration for rendition in [*renditions.video, *renditions.audio])
    root = _tag(
        "MPD",
        xmlns="urn:mpeg:dash:schema:mpd:2011",
        profiles="urn:mpeg:dash:profile:isoff-live:2011",
        type="static",
        mediaPresentationDuration=f"PT{float(length):.6f}S",
        minBufferTime=f"PT{renditions.target}S",
    )
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', root, _tag("Period", id="0", start="PT0S")]
    for number, (inside, attributes) in enumerate(_sets(renditions), 1):
        lines += [_tag("AdaptationSet", id=str(number), **attributes), *inside, "</AdaptationSet>"]
    return "\n".join([*lines, "</Period>", "</MPD>", ""])


def _sets(renditions: Renditions) -> Iterator[tuple[list[str], dict[str, str]]]:
    """The elements inside of each adaptation set, and its attributes."""
    pictures: dict[tuple[str, str], list[Rendition]] = {}
    for video in renditions.video:
        pictures.setdefault((video.codec, video.track.video_range), []).append(video)
    for members in pictures.values():
        yield [*_colour(members[0]), *_representations(members)], _common("video")
    first = renditions.audio[0].language if renditions.audio else ""
    for sound in renditions.audio:
        role = "main" if sound.language == first else "dub"
        yield [_role(role), *_representations([sound])], _common("audio") | {"lang": sound.language}
    for text in renditions.text:
        role = "forced-subtitle" if text.forced else "subtitle"
        facts = {"contentType": "text", "mimeType": "text/vtt", "lang": text.language}
        yield [_role(role), *_text(text)], facts


def _common(kind: str) -> dict[str, str]:
    return {"contentType": kind, "mimeType": f"{kind}/mp4", "segmentAlignment": "true", "startWithSAP": "1"}


def _role(value: str) -> str:
    return _empty_tag("Role", schemeIdUri=_ROLE, value=value)


def _colour(video: Rendition) -> list[str]:
    """Primaries, transfer and matrix, where they are not those that a player takes for granted."""
    if video.track.colour is None or video.track.video_range == "SDR":
        return []
    names = ("ColourPrimaries", "TransferCharacteristics", "MatrixCoefficients")
    values = zip(names, video.track.colour[:3], strict=True)
    return [_empty_tag("EssentialProperty", schemeIdUri=f"{_CICP}{name}", value=str(value)) for name, value in values]


def _text(text: TextRendition) -> list[str]:
    """One file beside the segments: DASH knows no segmented WebVTT outside of MP4."""
    return [
        _tag("Representation", id=f"text-{text.name}", bandwidth="1000"),
        f"<BaseURL>{text.folder}/whole.vtt</BaseURL>",
        "</Representation>",
    ]


def _representations(members: Sequence[Rendition]) -> list[str]:
    return [line for rendition in members for line in _representation(rendition)]


def _representation(rendition: Rendition) -> list[str]:
    track, inside = rendition.track, []
    if rendition.kind == "audio":
        facts = {"audioSamplingRate": f"{track.timescale}"}
        layout = {2: "2", 6: "6", 8: "7"}.get(track.channels, str(track.channels))
        inside = [_empty_tag("AudioChannelConfiguration", schemeIdUri=_CHANNELS, value=layout)]
    else:
        facts = {"width": f"{track.width}", "height": f"{track.height}", "sar": "1:1"}
        facts["frameRate"] = str(rendition.frame_rate)
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
        template,
        "<SegmentTimeline>",
        *_timeline(rendition.segments),
        "</SegmentTimeline>",
        "</SegmentTemplate>",
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
    return f"<{name} {_words(attributes)}>"


def _empty_tag(name: str, /, **attributes: str) -> str:
    return f"<{name} {_words(attributes)}/>"


def _words(attributes: Mapping[str, str]) -> str:
    return " ".join(f"{key}={quoteattr(value)}" for key, value in attributes.items())
