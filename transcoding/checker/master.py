"""Section 9: the multivariant playlist, and what it must say truly (H)."""

from collections.abc import Iterator
from fractions import Fraction

from transcoding.checker.model import Package
from transcoding.checker.playlist import Media, Variant
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, need_master, rule

# What the least variant of Apple's table is: 416x234, 145 kbit/s, and 160 kbit/s of stereo beside it.
_LEAST_PIXELS, _LEAST_BPS = 416 * 234, 305_000


def _variants(package: Package, *, video: bool = False) -> list[Variant]:
    need_master(package)
    found = package.video_variants if video else package.variants
    if not found:
        raise Skip("no variants" if not video else "no video variants")
    return found


def _tricks(package: Package) -> list[Variant]:
    need_master(package)
    if not package.tricks:
        raise Skip("no I-frame playlists")
    return package.tricks


def _lacking(package: Package, variants: list[Variant], attribute: str) -> Iterator[Evidence]:
    for variant in variants:
        if not variant.attributes.get(attribute):
            yield Evidence(package.line(variant), f"no {attribute}", attribute)


@rule("H.4", MUST, "CODECS names what is in the files")
def truthful_codecs(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 4.3.4.2: every format of every rendition. Compared word by word with the sample entries."""
    judged = False
    for variant in [*_variants(package), *package.tricks]:
        declared = {codec.text.lower() for codec in variant.codecs}
        names = [variant.uri, *(media.uri for media in package.group(variant) if media.uri)]
        held = {c.text.lower() for name in names if name in package.renditions for c in package.renditions[name].codecs}
        if not declared or not held:
            continue
        judged = True
        for word in sorted(held):
            # ffmpeg and others write AV1's optional fields, or leave them out: RFC 6381 prefixes are the same codec.
            if not any(word == told or word.startswith(f"{told}.") or told.startswith(f"{word}.") for told in declared):
                yield Evidence(package.line(variant), f"{variant.attributes.get('CODECS')} lacks {word}", word)
        kinds = {c.family for name in names if name in package.renditions for c in package.renditions[name].codecs}
        own = package.renditions.get(variant.uri)
        for codec in variant.codecs if own and own.tracks else ():
            if codec.is_video and codec.family not in kinds:
                yield Evidence(package.line(variant), f"{codec.text} is nowhere in the files", ", ".join(sorted(held)))
    if not judged:
        raise Skip("no CODECS, or no sample entry could be read")


@rule("H.5", SHOULD, "RESOLUTION and FRAME-RATE are those of the picture")
def truthful_facts(package: Package) -> Iterator[Evidence]:
    judged = False
    for variant in [*_variants(package), *package.tricks]:
        rendition = package.renditions.get(variant.uri)
        track = rendition.picture if rendition else None
        if rendition is None or track is None:
            continue
        judged = True
        if variant.resolution and variant.resolution != (track.width, track.height):
            found = f"RESOLUTION={variant.attributes['RESOLUTION']}"
            yield Evidence(package.line(variant), found, f"{track.width}x{track.height}")
        rate = rendition.frame_rate
        if rendition.readable and rate and variant.frame_rate and abs(variant.frame_rate / rate - 1) > Fraction(1, 100):
            yield Evidence(package.line(variant), f"FRAME-RATE={float(variant.frame_rate):.3f}", f"{float(rate):.3f}")
    if not judged:
        raise Skip("no picture could be read")


@rule("H.7", MUST, "groups that variants name exist, with distinct names and one default")
def groups(package: Package) -> Iterator[Evidence]:
    """RFC 8216, 4.3.4.1.1 and 4.3.4.2."""
    for variant in _variants(package):
        for attribute in ("AUDIO", "SUBTITLES", "VIDEO", "CLOSED-CAPTIONS"):
            wanted = variant.attributes.get(attribute)
            if wanted and wanted != "NONE" and not package.group(variant, attribute):
                yield Evidence(package.line(variant), f"{attribute} group {wanted!r} has no EXT-X-MEDIA", "one")
    seen: dict[tuple[str, str, str], int] = {}
    defaults: dict[tuple[str, str], int] = {}
    for media in package.media():
        key = (media.kind, media.group, media.name)
        if key in seen:
            yield Evidence(package.line(media), f"NAME {media.name!r} twice in group {media.group!r}", "distinct names")
        seen[key] = media.line
        if media.attributes.get("DEFAULT") == "YES":
            if (media.kind, media.group) in defaults:
                yield Evidence(package.line(media), f"a second DEFAULT=YES in group {media.group!r}", "one at most")
            defaults[(media.kind, media.group)] = media.line


@rule("9.1", MUST, "EXT-X-STREAM-INF has CODECS")
def has_codecs(package: Package) -> Iterator[Evidence]:
    yield from _lacking(package, _variants(package), "CODECS")


@rule("9.2", MUST, "EXT-X-STREAM-INF of video has RESOLUTION")
def has_resolution(package: Package) -> Iterator[Evidence]:
    for variant in _variants(package, video=True):
        if variant.resolution is None:
            yield Evidence(package.line(variant), f"RESOLUTION {variant.attributes.get('RESOLUTION')}", "WIDTHxHEIGHT")


@rule("9.3", MUST, "EXT-X-I-FRAME-STREAM-INF has CODECS")
def trick_codecs(package: Package) -> Iterator[Evidence]:
    yield from _lacking(package, _tricks(package), "CODECS")


@rule("9.4", MUST, "EXT-X-I-FRAME-STREAM-INF has RESOLUTION")
def trick_resolution(package: Package) -> Iterator[Evidence]:
    for variant in _tricks(package):
        if variant.resolution is None:
            yield Evidence(package.line(variant), f"RESOLUTION {variant.attributes.get('RESOLUTION')}", "WIDTHxHEIGHT")


@rule("9.5", SHOULD, "audio and video are separate streams")
def demuxed(package: Package) -> Iterator[Evidence]:
    judged = False
    for variant in _variants(package, video=True):
        rendition = package.renditions.get(variant.uri)
        if rendition is None or not (rendition.tracks or "ts" in rendition.containers):
            continue
        judged = True
        muxed = rendition.picture is not None and rendition.sounds
        programs = {kind for segment in rendition.segments for kind in segment.programs}
        if muxed or (programs & {0x1B, 0x24} and programs & {0x0F, 0x11, 0x81, 0x87, 0x03, 0x04}):
            yield Evidence(package.short(variant.uri), "video and audio in one stream", "one each")
    if not judged:
        raise Skip("no streams could be read")


@rule("9.6", MUST, "multichannel audio is in streams of its own")
def separate_multichannel(package: Package) -> Iterator[Evidence]:
    _variants(package)
    many = [media for media in package.media("AUDIO") if (media.channels or 0) > 2]
    muxed = [
        (r, track) for r in package.role("video") if r.picture for track in r.sounds if track.channels > 2
    ]  # fmt: skip
    known = any(r.sounds for r in package.role("audio", "video"))
    if not many and not muxed and not known:
        raise Skip("no multichannel audio")
    for media in many:
        if media.uri is None:
            yield Evidence(package.line(media), f"{media.channels} channels without a URI", "a playlist of its own")
    for rendition, track in muxed:
        yield Evidence(package.short(rendition.name), f"{track.channels} channels beside the picture", "a stream")


@rule("9.7", MUST, "alternative audio is in streams of its own")
def separate_alternatives(package: Package) -> Iterator[Evidence]:
    """Of a group with several renditions, one at most may lie in the variants themselves."""
    need_master(package)
    grouped: dict[str, list[Media]] = {}
    for media in package.media("AUDIO"):
        grouped.setdefault(media.group, []).append(media)
    several = {name: found for name, found in grouped.items() if len(found) > 1}
    if not several:
        raise Skip("no alternative audio")
    for found in several.values():
        for media in found:
            inside = media.uri is None and (media.attributes.get("DEFAULT") != "YES" or _is_silent(package, media))
            if inside:
                yield Evidence(package.line(media), f"{media.name!r} without a URI", "a playlist of its own")


def _is_silent(package: Package, media: Media) -> bool:
    """Whether the variants that name its group are known to hold no sound of their own."""
    own = [package.renditions.get(v.uri) for v in package.variants if v.attributes.get("AUDIO") == media.group]
    return bool(own) and all(r is not None and r.tracks and not r.sounds for r in own)


@rule("9.9", MUST, "video comes in several bit rates")
def several_rates(package: Package) -> Iterator[Evidence]:
    """A lone variant that is no more than the least one of Apple's table has nothing to switch down to."""
    variants = _variants(package, video=True)
    if len({variant.bandwidth for variant in variants}) < 2:
        width, height = variants[0].resolution or (1 << 16, 1 << 16)
        rate = variants[0].average or variants[0].bandwidth or 0
        if 0 < rate <= _LEAST_BPS or 0 < width * height <= _LEAST_PIXELS:
            raise Skip(f"one variant of {width}x{height} and {rate} bit/s: there is nothing below it to offer")
        yield Evidence("", f"one bit rate, {variants[0].bandwidth} bit/s", "several")


@rule("9.10", SHOULD, "HD has two variants at its largest size")
def two_largest(package: Package) -> Iterator[Evidence]:
    sizes = [variant.resolution for variant in _variants(package, video=True) if variant.resolution]
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    if largest[1] < 720:
        raise Skip("no HD")
    if sizes.count(largest) < 2:
        yield Evidence("", f"one variant of {largest[0]}x{largest[1]}", "two")


def _all_start_with_keys(package: Package) -> bool:
    """Unknown counts as yes: the rule is about the tag."""
    return not any(
        segment.timelines[0].first_key is False for r in package.role("video") for segment in r.measured
    )  # fmt: skip


@rule("9.11", SHOULD, "the multivariant playlist says EXT-X-INDEPENDENT-SEGMENTS")
def independent(package: Package) -> Iterator[Evidence]:
    _variants(package, video=True)
    if not _all_start_with_keys(package):
        raise Skip("segments do not start with an IDR")
    if package.master is not None and not package.master.independent:
        yield Evidence(package.short(package.master.uri), "no EXT-X-INDEPENDENT-SEGMENTS", "the tag")


@rule("9.12", MUST, "EXT-X-INDEPENDENT-SEGMENTS stands in the multivariant or in every video playlist")
def independent_somewhere(package: Package) -> Iterator[Evidence]:
    _variants(package, video=True)
    if not _all_start_with_keys(package):
        raise Skip("segments do not start with an IDR")
    if package.master is not None and package.master.independent:
        return
    for rendition in package.role("video"):
        if not rendition.listing.independent:
            yield Evidence(package.short(rendition.name), "no EXT-X-INDEPENDENT-SEGMENTS", "the tag")


@rule("9.13", MUST, "BANDWIDTH is the worst playable combination's peak")
def worst_combination(package: Package) -> Iterator[Evidence]:
    """At least that, one per cent granted for what encryption and rounding add; 1.27 says how much more it may be."""
    judged = False
    for variant in _variants(package):
        rates = package.rates(variant)
        if rates is None or variant.bandwidth is None:
            continue
        judged = True
        if variant.bandwidth * 100 < rates[1] * 99:
            yield Evidence(package.short(variant.uri), f"BANDWIDTH={variant.bandwidth}", f"{rates[1]} at least")
    if not judged:
        raise Skip("no variant whose sizes are known")


@rule("9.14", MUST, "AVERAGE-BANDWIDTH is there")
def has_average(package: Package) -> Iterator[Evidence]:
    for variant in _variants(package):
        if variant.average is None:
            found = f"AVERAGE-BANDWIDTH {variant.attributes.get('AVERAGE-BANDWIDTH')}"
            yield Evidence(package.line(variant), found, "a number")


@rule("9.15", MUST, "EXT-X-STREAM-INF of video has FRAME-RATE")
def has_frame_rate(package: Package) -> Iterator[Evidence]:
    for variant in _variants(package, video=True):
        if variant.frame_rate is None:
            yield Evidence(package.line(variant), f"FRAME-RATE {variant.attributes.get('FRAME-RATE')}", "a number")


@rule("9.16", MUST, "VIDEO-RANGE is there unless everything is SDR")
def has_range(package: Package) -> Iterator[Evidence]:
    listed = [*_variants(package, video=True), *package.tricks]
    pictures = {v.uri: package.renditions[v.uri].dynamic_range for v in listed if v.uri in package.renditions}
    told = {variant.dynamic_range for variant in listed} - {"SDR"}
    if not told and not {found for found in pictures.values() if found in ("PQ", "HLG")}:
        return
    for variant in listed:
        if "VIDEO-RANGE" not in variant.attributes:
            yield Evidence(
                package.line(variant), "no VIDEO-RANGE beside HDR", pictures.get(variant.uri) or "VIDEO-RANGE"
            )
        elif pictures.get(variant.uri) not in (None, variant.dynamic_range):
            yield Evidence(package.line(variant), f"VIDEO-RANGE={variant.dynamic_range}", str(pictures[variant.uri]))


@rule("9.19", MUST, "SCORE stands on every variant or on none")
def scores(package: Package) -> Iterator[Evidence]:
    variants = _variants(package)
    scored = [variant for variant in variants if "SCORE" in variant.attributes]
    if not scored:
        raise Skip("no SCORE")
    yield from _lacking(package, variants, "SCORE")
