"""Section 2: audio encoding."""

from collections.abc import Iterator

from transcoding.checker.bitstream import Codec
from transcoding.checker.model import Package, Rendition
from transcoding.checker.playlist import Media
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, ms, rule
from transcoding.checker.samples import Track

_DESCRIBES = "public.accessibility.describes-video"
_KBPS = {("aac", 2): (32, 160), ("usac", 2): (24, 160), ("eac3", 2): (96, 160), ("aac", 6): (320, 320),
         ("ac3", 6): (384, 384), ("eac3", 6): (192, 192), ("eac3", 8): (384, 384)}  # fmt: skip
_TRANSPORT_SOUND = {0x03, 0x04, 0x0F, 0x11, 0x81, 0x87, 0xC1, 0xC2, 0xCF}


def _words(package: Package) -> list[tuple[str, Codec]]:
    """Every audio codec that is declared or found, and where."""
    found = [(where, codec) for v in package.variants for where, codec in package.codecs(v) if codec.is_audio]
    for rendition in package.role("audio", "video") if package.master else package.renditions.values():
        found += [(f"{package.short(rendition.name)} (sample entry)", c) for c in rendition.codecs if c.is_audio]
    if not found:
        raise Skip("no audio")
    return found


def _sounds(package: Package) -> list[tuple[Rendition, Track]]:
    found = [(r, track) for r in package.role("audio", "video") for track in r.sounds]
    if not found:
        raise Skip("no audio track could be read")
    return found


@rule("2.3", MUST, "stereo audio in AAC or HE-AAC exists")
def stereo_aac(package: Package) -> Iterator[Evidence]:
    """Asked of what has sound at all. Mono is taken for stereo: the rule is about the codec that every device plays."""
    words = _words(package)
    tracks = [(track.codec, track.channels) for r in package.role("audio", "video") for track in r.sounds]
    tags = [m.channels for m in package.media("AUDIO")]
    plain = any(codec.family in ("aac", "he-aac") for _, codec in words)
    if not plain:
        yield Evidence("", ", ".join(sorted({codec.text for _, codec in words})), "mp4a.40.2 (or .5, .29)")
    elif tracks and not any(name.startswith("mp4a.40.") and channels <= 2 for name, channels in tracks):
        yield Evidence("", ", ".join(f"{name} with {channels} channels" for name, channels in tracks), "AAC with 2")
    elif tags and all(channels is not None and channels > 2 for channels in tags):
        yield Evidence("", f"CHANNELS {sorted({c for c in tags if c})}", "a rendition with 2")


@rule("2.4", SHOULD, "HE-AAC is not used above 64 kbit/s")
def he_aac_rate(package: Package) -> Iterator[Evidence]:
    if not any(codec.family == "he-aac" for _, codec in _words(package)):
        raise Skip("no HE-AAC")
    for rendition in package.role("audio"):
        heard = any(codec.family == "he-aac" for codec in rendition.codecs)
        if heard and rendition.rates and rendition.rates[0] > 64_000:
            yield Evidence(package.short(rendition.name), f"{rendition.rates[0]} bit/s", "64 kbit/s at most")


@rule("2.6", SHOULD, "Dolby Digital exists where Dolby Digital Plus does")
def dolby_digital(package: Package) -> Iterator[Evidence]:
    """A MUST only where devices are served that lack Dolby Digital Plus, which a package cannot tell."""
    families = {codec.family for _, codec in _words(package)}
    if "eac3" not in families:
        raise Skip("no Dolby Digital Plus")
    if "ac3" not in families:
        yield Evidence("", "ec-3 alone", "ac-3 too")


@rule("2.9", SHOULD, "audio has a recommended bit rate")
def audio_rates(package: Package) -> Iterator[Evidence]:
    """The table of 2.9, with a fifth granted to what is a single figure there, and to containers."""
    judged = False
    for rendition in package.role("audio"):
        track = next(iter(rendition.sounds), None)
        codec = next((codec for codec in rendition.codecs if codec.is_audio), None)
        allowed = _KBPS.get((codec.family, track.channels)) if track and codec else None
        if allowed is None or rendition.rates is None:
            continue
        judged = True
        low, high = (allowed[0] * 800, allowed[1] * 1200) if allowed[0] == allowed[1] else (0, allowed[1] * 1050)
        if not low <= rendition.rates[0] <= high:
            yield Evidence(package.short(rendition.name), f"{rendition.rates[0]} bit/s", f"{allowed} kbit/s")
    if not judged:
        raise Skip("no audio stream of its own whose format is in the table")


def _descriptions(package: Package) -> list[Media]:
    found = [media for media in package.media("AUDIO") if _DESCRIBES in media.characteristics]
    if not found:
        raise Skip("no audio description")
    return found


@rule("2.12", MUST, "audio description is marked as such")
def description_marked(package: Package) -> Iterator[Evidence]:
    """Renditions that call themselves a description by their name; others cannot be told from a commentary."""
    named = [
        m for m in package.media("AUDIO")
        if any(word in m.name.lower() for word in ("audio description", "descriptive", "described", "тифлокоммент"))
    ]  # fmt: skip
    if not named:
        raise Skip("no rendition is named an audio description")
    for media in named:
        if _DESCRIBES not in media.characteristics:
            yield Evidence(package.line(media), f"NAME={media.name!r} unmarked", f"CHARACTERISTICS={_DESCRIBES}")


@rule("2.13", MUST, "audio description may be selected automatically")
def description_selected(package: Package) -> Iterator[Evidence]:
    for media in _descriptions(package):
        if media.attributes.get("AUTOSELECT") != "YES":
            yield Evidence(package.line(media), f"AUTOSELECT={media.attributes.get('AUTOSELECT')}", "YES")


@rule("2.15", MUST, "alternative audio lasts as long as the film")
def whole_alternatives(package: Package) -> Iterator[Evidence]:
    named = [m for m in package.media("AUDIO") if m.uri in package.renditions]
    heard = [package.renditions[m.uri] for m in named if m.uri]
    pictures = [r for r in package.role("video") if r.listing.entries]
    if len(heard) < 2 or not pictures:
        raise Skip("no alternative audio")
    length = min(rendition.duration for rendition in pictures)
    for rendition in heard:
        if length - rendition.duration > 1:
            yield Evidence(package.short(rendition.name), ms(rendition.duration), ms(length))


@rule("2.17", MUST, "a segment holds one audio stream at most")
def one_stream(package: Package) -> Iterator[Evidence]:
    judged = False
    for rendition in package.role("audio", "video"):
        judged |= bool(rendition.tracks) or any(segment.programs for segment in rendition.segments)
        if len(rendition.sounds) > 1:
            yield Evidence(package.short(rendition.name), f"{len(rendition.sounds)} audio tracks", "1")
        for segment in rendition.segments:
            streams = sum(kind in _TRANSPORT_SOUND for kind in segment.programs)
            if streams > 1:
                yield Evidence(package.short(segment.file), f"{streams} audio streams", "1")
    if not judged:
        raise Skip("no segment's streams could be read")


@rule("2.19", SHOULD, "fragmented MP4 tells its loudness (ludt)")
def loudness(package: Package) -> Iterator[Evidence]:
    for rendition, track in _sounds(package):
        if not track.loudness:
            yield Evidence(package.short(rendition.name), "no ludt box", "one")


@rule("2.24", MUST, "HE-AAC in fragmented MP4 signals SBR explicitly")
def explicit_sbr(package: Package) -> Iterator[Evidence]:
    judged = False
    for variant in package.variants:
        declared = {codec.text for codec in variant.codecs if codec.family == "he-aac"}
        names = [variant.uri, *(media.uri for media in package.group(variant) if media.uri)]
        found = [package.renditions[name] for name in names if name in package.renditions]
        tracks = [(r, track) for r in found for track in r.sounds if track.codec.startswith("mp4a.40.")]
        if not declared or not tracks:
            continue
        judged = True
        if not any(track.aac_type in (5, 29) for _, track in tracks):
            yield Evidence(package.short(tracks[0][0].name), f"audio object type {tracks[0][1].aac_type}", "5 or 29")
    if not judged:
        raise Skip("no HE-AAC in fragmented MP4")


@rule("2.25", MUST, "xHE-AAC, Apple Lossless and FLAC are in fragmented MP4")
def lossless_container(package: Package) -> Iterator[Evidence]:
    wanted = {"usac", "alac", "flac"}
    if not any(codec.family in wanted for _, codec in _words(package)):
        raise Skip("none of them")
    for variant in package.variants:
        if not any(codec.family in wanted for codec in variant.codecs):
            continue
        names = [media.uri for media in package.group(variant) if media.uri] or [variant.uri]
        for rendition in (package.renditions[name] for name in names if name in package.renditions):
            for container in sorted(rendition.containers - {"fmp4"}):
                yield Evidence(package.short(rendition.name), container, "fmp4")


@rule("2.26", SHOULD, "multichannel AAC exists where other multichannel audio does")
def multichannel_aac(package: Package) -> Iterator[Evidence]:
    """Asked of formats that are not Dolby's."""
    many = [(r, track) for r, track in _sounds(package) if track.channels > 2]
    others = [r for r, track in many if track.codec.lower()[:4] in ("flac", "alac", "opus")]
    if not others:
        raise Skip("no multichannel audio but Dolby's and AAC")
    if not any(track.codec.startswith("mp4a.40") for _, track in many):
        yield Evidence(package.short(others[0].name), "multichannel without AAC", "AAC 5.1 too")


@rule("2.27", MUST, "audio description tells its language")
def description_language(package: Package) -> Iterator[Evidence]:
    for media in _descriptions(package):
        if not media.language:
            yield Evidence(package.line(media), "no LANGUAGE", "the language of the descriptions")
