"""Section 1: which codecs, profiles and levels, and in which containers."""

from collections.abc import Iterator
from fractions import Fraction

from transcoding.checker.bitstream import Codec
from transcoding.checker.model import Package, Rendition
from transcoding.checker.playlist import Variant
from transcoding.checker.registry import MUST, SHOULD, Evidence, Skip, measured, rule

_AVC_PROFILES = {66: "Baseline", 77: "Main", 100: "High"}
# Table A-1 of ITU-T H.264: level, macroblocks a second, a frame, in the picture buffer, kbit/s (High: 1.25 of it).
_AVC_LEVELS = (
    (10, 1_485, 99, 396, 64), (11, 3_000, 396, 900, 192), (12, 6_000, 396, 2_376, 384), (13, 11_880, 396, 2_376, 768),
    (20, 11_880, 396, 2_376, 2_000), (21, 19_800, 792, 4_752, 4_000), (22, 20_250, 1_620, 8_100, 4_000),
    (30, 40_500, 1_620, 8_100, 10_000), (31, 108_000, 3_600, 18_000, 14_000), (32, 216_000, 5_120, 20_480, 20_000),
    (40, 245_760, 8_192, 32_768, 20_000), (41, 245_760, 8_192, 32_768, 50_000), (42, 522_240, 8_704, 34_816, 50_000),
    (50, 589_824, 22_080, 110_400, 135_000), (51, 983_040, 36_864, 184_320, 240_000),
    (52, 2_073_600, 36_864, 184_320, 240_000),
)  # fmt: skip
_BURST = 2  # of a coded picture buffer over what a segment shows


def _words(package: Package) -> list[tuple[Variant, str, Codec]]:
    """Every video codec that a variant or I-frame variant declares or holds, and where."""
    listed = [*package.video_variants, *package.tricks]
    found = [(v, where, codec) for v in listed for where, codec in package.codecs(v)]
    if not found and package.master is None:
        lone = package.role("video", "trick")
        found = [(Variant(r.name, {}, False, 1), package.short(r.name), c) for r in lone for c in r.codecs]
    return [item for item in found if not item[2].is_audio and item[2].family not in ("imsc", "webvtt")]


def _of(package: Package, family: str, name: str) -> list[tuple[Variant, str, Codec]]:
    found = [item for item in _words(package) if item[2].family == family]
    if not found:
        raise Skip(f"no {name} video")
    return found


@rule("1.1", MUST, "video is H.264, HEVC, Dolby Vision or AV1")
def codecs(package: Package) -> Iterator[Evidence]:
    """Motion JPEG is allowed for I-frames (6.17)."""
    words = _words(package)
    if not words:
        raise Skip("no video codec is known")
    for variant, where, codec in words:
        allowed = {"avc", "hevc", "dolby", "av1"} | ({"mjpg"} if variant.trick else set())
        if codec.family not in allowed:
            yield Evidence(where, codec.text, "avc1, hvc1, dvh1 or av01")


def _containers(package: Package, family: str, name: str, allowed: set[str]) -> Iterator[Evidence]:
    seen: set[str] = set()
    known = False
    for variant, _, _ in _of(package, family, name):
        rendition = package.renditions.get(variant.uri)
        if rendition is None or variant.uri in seen:
            continue
        seen.add(variant.uri)
        known |= bool(rendition.containers)
        for container in sorted(rendition.containers - allowed):
            yield Evidence(package.short(variant.uri), f"{name} in {container}", " or ".join(sorted(allowed)))
    if not known:
        raise Skip("the containers could not be read")


@rule("1.2", MUST, "H.264 is in fragmented MP4 or MPEG transport streams")
def avc_container(package: Package) -> Iterator[Evidence]:
    yield from _containers(package, "avc", "H.264", {"fmp4", "ts"})


@rule("1.3a", SHOULD, "some H.264 variant is at most High profile, level 4.1")
def avc_compatible(package: Package) -> Iterator[Evidence]:
    words = [codec for variant, _, codec in _of(package, "avc", "H.264") if not variant.trick]
    if words and not any(codec.profile in _AVC_PROFILES and codec.level <= 41 for codec in words):
        yield Evidence("", ", ".join(sorted({codec.text for codec in words})), "one of at most High, 4.1")


@rule("1.3b", MUST, "H.264 is at most High profile, level 5.2")
def avc_limit(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "avc", "H.264"):
        if codec.profile not in _AVC_PROFILES or codec.level > 52:
            yield Evidence(where, f"{codec.text}: profile {codec.profile}, level {codec.level / 10}", "High, 5.2")


@rule("1.4", SHOULD, "H.264 uses the High profile rather than Main or Baseline")
def avc_high(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "avc", "H.264"):
        if codec.profile in (66, 77):
            yield Evidence(where, f"{codec.text}: {_AVC_PROFILES[codec.profile]}", "High")


@rule("1.5", MUST, "HEVC is in fragmented MP4")
def hevc_container(package: Package) -> Iterator[Evidence]:
    yield from _containers(package, "hevc", "HEVC", {"fmp4"})


@rule("1.6a", SHOULD, "some HEVC variant is at most Main 10 profile, level 4.0, Main tier")
def hevc_compatible(package: Package) -> Iterator[Evidence]:
    words = [codec for variant, _, codec in _of(package, "hevc", "HEVC") if not variant.trick]
    if words and not any(c.profile in (1, 2, 3) and c.level <= 120 and not c.high_tier for c in words):
        yield Evidence("", ", ".join(sorted({codec.text for codec in words})), "one of at most Main 10, 4.0, Main tier")


@rule("1.6b", MUST, "HEVC is at most Main 10 profile, level 5.1, High tier")
def hevc_limit(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "hevc", "HEVC"):
        if codec.profile not in (1, 2, 3) or codec.level > 153:
            yield Evidence(where, f"{codec.text}: profile {codec.profile}, level {codec.level / 30}", "Main 10, 5.1")


@rule("1.7", MUST, "HDR in HEVC is HDR10, HLG or Dolby Vision")
def hdr_kinds(package: Package) -> Iterator[Evidence]:
    """Declared by VIDEO-RANGE (PQ or HLG) and, where the colour is told in the file: BT.2020 in ten bits."""
    ranged = [v for v, _, _ in _of(package, "hevc", "HEVC") if v.dynamic_range != "SDR"]
    if not ranged:
        raise Skip("no HDR in HEVC")
    for variant in ranged:
        where = package.short(variant.uri)
        if variant.dynamic_range not in ("PQ", "HLG"):
            yield Evidence(where, f"VIDEO-RANGE={variant.dynamic_range}", "PQ or HLG")
        rendition = package.renditions.get(variant.uri)
        facts = rendition.picture.video if rendition and rendition.picture else None
        if facts is not None and (facts.bit_depth or 10) < 10:
            yield Evidence(where, f"{facts.bit_depth} bits a sample", "10")
        if facts is not None and facts.primaries not in (None, 9):
            yield Evidence(where, f"colour primaries {facts.primaries}", "9 (BT.2020)")


def _hdr10(package: Package) -> list[Rendition]:
    found = {v.uri for v, _, codec in _words(package) if codec.family == "hevc" and v.dynamic_range == "PQ"}
    return measured([package.renditions[uri] for uri in sorted(found) if uri in package.renditions], "HDR10")


@rule("1.8", SHOULD, "HDR10 metadata is in the HEVC configuration box")
def hdr_in_configuration(package: Package) -> Iterator[Evidence]:
    for rendition in _hdr10(package):
        facts = rendition.picture.video if rendition.picture else None
        if facts is not None and not {137, 144} <= facts.sei:
            yield Evidence(package.short(rendition.name), f"SEI {sorted(facts.sei)} in hvcC", "SEI 137 and 144")


@rule("1.9", MUST, "Dolby Vision is profile 5, at most level 7")
def dolby(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "dolby", "Dolby Vision"):
        if codec.profile != 5 or codec.level > 7:
            yield Evidence(where, codec.text, "profile 5, level 7 at most")


@rule("1.10", SHOULD, "parameter sets are in the sample description (avc1, hvc1, dvh1)")
def parameter_sets(package: Package) -> Iterator[Evidence]:
    words = _words(package)
    if not words:
        raise Skip("no video codec is known")
    for _, where, codec in words:
        if codec.text[:4] in ("avc3", "hev1", "dvhe", "dvav"):
            yield Evidence(where, codec.text, "avc1, hvc1 or dvh1")


@rule("1.11", SHOULD, "no higher H.264 level than the picture needs")
def levels(package: Package) -> Iterator[Evidence]:
    """By Table A-1 of H.264: macroblocks, reference pictures, and twice the measured peak rate for its buffer."""
    known = [r for r in measured(package.role("video"), "video") if r.picture and r.picture.codec.startswith("avc")]
    if not known:
        raise Skip("no H.264 whose samples could be read")
    for rendition in known:
        track, rate = rendition.picture, rendition.frame_rate
        if track is None or track.video is None or rate is None:
            continue
        blocks = -(-track.width // 16) * -(-track.height // 16)
        bits = _BURST * (rendition.rates[1] if rendition.rates else 0)
        needs = (blocks * rate, blocks, blocks * (track.video.references or 1), Fraction(bits, 1250))
        fitting = (
            row[0] for row in _AVC_LEVELS if all(need <= most for need, most in zip(needs, row[1:], strict=True))
        )
        least, told = next(fitting, 52), int(track.codec[-2:], 16)
        if told > least:
            yield Evidence(package.short(rendition.name), f"level {told / 10}", f"level {least / 10}")


@rule("1.12", SHOULD, "some video is H.264")
def some_avc(package: Package) -> Iterator[Evidence]:
    words = [codec for variant, _, codec in _words(package) if not variant.trick]
    if not words:
        raise Skip("no video codec is known")
    if not any(codec.family == "avc" for codec in words):
        yield Evidence("", ", ".join(sorted({codec.text for codec in words})), "one variant in H.264")


@rule("1.35", SHOULD, "HDR10 carries mastering display and light level messages")
def hdr_messages(package: Package) -> Iterator[Evidence]:
    for rendition in _hdr10(package):
        facts = rendition.picture.video if rendition.picture else None
        told = (facts.sei if facts else frozenset()) | rendition.measured[0].timelines[0].messages
        if not {137, 144} <= told:
            yield Evidence(package.short(rendition.name), f"SEI {sorted(told)}", "SEI 137 and 144")


@rule("1.37", MUST, "AV1 is at most level 6.2")
def av1_limit(package: Package) -> Iterator[Evidence]:
    for _, where, codec in _of(package, "av1", "AV1"):
        if codec.level > 18:
            yield Evidence(where, f"{codec.text}: level {2 + codec.level // 4}.{codec.level % 4}", "6.2")


@rule("1.39", MUST, "AV1 is in fragmented MP4")
def av1_container(package: Package) -> Iterator[Evidence]:
    yield from _containers(package, "av1", "AV1", {"fmp4"})
