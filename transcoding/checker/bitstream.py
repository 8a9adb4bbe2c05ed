"""Decoder configurations and the few bits of video samples that rules speak of; nothing is decoded.

Sources: ISO/IEC 14496-15 (avcC, hvcC, NAL units in samples), ITU-T H.264 7.3.2.1 and Annex E (SPS, VUI), ITU-T H.265
7.4.2.2 (NAL unit types), AV1 ISOBMFF binding 2.3 (av1C) and AV1 5.3, 5.9 (OBU and frame headers), RFC 6381.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from transcoding.errors import TranscodingError

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_HEVC_IDR = {19, 20}
_MOST_UNITS = 20_000  # in a picture; a slice for each macroblock row of the largest has far fewer
_OBU_SEQUENCE, _OBU_FRAME_HEADER, _OBU_FRAME = 1, 3, 6
_FAMILIES = {
    "avc1": "avc", "avc3": "avc", "hvc1": "hevc", "hev1": "hevc", "dvh1": "dolby", "dvhe": "dolby", "dva1": "dolby",
    "dvav": "dolby", "dav1": "dolby", "av01": "av1", "mp4a": "aac", "ac-3": "ac3", "ec-3": "eac3", "flac": "flac",
    "alac": "alac", "opus": "opus", "stpp": "imsc", "wvtt": "webvtt", "vp09": "vp9", "mjpg": "mjpg",
}  # fmt: skip
VIDEO = {"avc", "hevc", "dolby", "av1", "vp9", "mjpg"}
AUDIO = {"aac", "ac3", "eac3", "flac", "alac", "opus", "usac", "he-aac", "mp3"}


@dataclass(frozen=True)
class Codec:
    """What a CODECS word says. `level`: ten times the H.264 level, thirty times the HEVC one, the AV1 index."""

    text: str
    family: str  # avc, hevc, dolby, av1, aac, he-aac, usac, mp3, ac3, eac3, flac, alac, imsc, webvtt, ... or unknown
    profile: int = 0
    level: int = 0
    high_tier: bool = False

    @property
    def is_video(self) -> bool:
        return self.family in VIDEO

    @property
    def is_audio(self) -> bool:
        return self.family in AUDIO


@dataclass(frozen=True)
class VideoFacts:
    """From a decoder configuration and its parameter sets; None: not said there."""

    nal_length: int = 4
    interlaced: bool | None = None
    references: int | None = None
    primaries: int | None = None
    transfer: int | None = None
    matrix: int | None = None
    bit_depth: int | None = None
    sei: frozenset[int] = frozenset()  # payload types in the configuration: 137 mastering display, 144 light level


def family(text: str) -> str:
    """Of a codec word or of a bare sample entry."""
    return _FAMILIES.get(text.strip()[:4].lower(), "unknown")


def read_codec(text: str) -> Codec:
    """An RFC 6381 word; never raises: what cannot be understood has family `unknown`."""
    kind, rest = family(text), text.strip().partition(".")[2]
    try:
        if kind == "avc":
            return _avc_word(text, rest)
        if kind == "hevc":
            return _hevc_word(text, rest)
        if kind in ("av1", "dolby") and rest:
            profile, level = rest.split(".")[:2]
            return Codec(text, kind, int(profile), int(level.rstrip("MH")), level.endswith("H"))
        if kind == "aac":
            return Codec(text, {"40.5": "he-aac", "40.29": "he-aac", "40.42": "usac", "40.34": "mp3"}.get(rest, "aac"))
    except ValueError:
        return Codec(text, "unknown")
    return Codec(text, kind)


def _avc_word(text: str, rest: str) -> Codec:
    if re.fullmatch(r"[0-9a-fA-F]{6}", rest):
        return Codec(text, "avc", int(rest[:2], 16), int(rest[4:], 16))
    profile, _, level = rest.partition(".")  # the form before RFC 6381: avc1.66.30
    return Codec(text, "avc", int(profile), int(level))


def _hevc_word(text: str, rest: str) -> Codec:
    words = rest.split(".")
    if len(words) < 3 or not words[2] or words[2][0] not in "LH":
        return Codec(text, "unknown")
    return Codec(text, "hevc", int(words[0].lstrip("ABC")), int(words[2][1:]), words[2][0] == "H")


class Bits:
    """Reads bits from the most significant one on."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data), len(data) * 8

    def u(self, width: int) -> int:
        if width > self._left:
            raise TranscodingError("a parameter set ends too early")
        self._left -= width
        return (self._value >> self._left) & ((1 << width) - 1)

    def ue(self) -> int:
        """Exp-Golomb."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise TranscodingError("a parameter set is no Exp-Golomb code")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def avc_facts(config: bytes) -> tuple[str, VideoFacts]:
    """`avc1`'s suffix and what the first SPS of an avcC says."""
    if len(config) < 8 or not config[5] & 0x1F:
        raise TranscodingError("avcC without a parameter set")
    length = struct.unpack_from(">H", config, 6)[0]
    return config[1:4].hex(), _sps(config[9 : 8 + length].replace(b"\0\0\3", b"\0\0"), 1 + (config[4] & 3))


def _sps(data: bytes, nal_length: int) -> VideoFacts:
    bits = Bits(data)
    profile, _, _ = bits.u(8), bits.u(16), bits.ue()
    depth = 8
    if profile in _HIGH_PROFILES:
        depth = _high_profile(bits)
    bits.ue()
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(min(255, bits.ue())):
            bits.se()
    references = bits.ue()
    bits.u(1)
    bits.ue()
    bits.ue()
    interlaced = not bits.u(1)
    bits.u(2 if interlaced else 1)
    if bits.u(1):
        for _ in range(4):
            bits.ue()
    primaries, transfer, matrix = _vui_colour(bits) if bits.u(1) else (None, None, None)
    return VideoFacts(nal_length, interlaced, references, primaries, transfer, matrix, depth)


def _high_profile(bits: Bits) -> int:
    """The fields that only the High profiles have; returns the bit depth of luma."""
    chroma = bits.ue()
    if chroma == 3:
        bits.u(1)
    depth = 8 + bits.ue()
    bits.ue()
    bits.u(1)
    if bits.u(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.u(1):
                last = step = 8
                for _ in range(16 if number < 6 else 64):
                    step = (last + bits.se()) % 256 if step else 0
                    last = step or last
    return depth


def _vui_colour(bits: Bits) -> tuple[int | None, int | None, int | None]:
    if bits.u(1) and bits.u(8) == 255:  # extended sample aspect ratio
        bits.u(32)
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(4)
        if bits.u(1):
            return bits.u(8), bits.u(8), bits.u(8)
    return None, None, None


def hevc_facts(config: bytes) -> tuple[str, VideoFacts]:
    """RFC 6381 suffix (ISO/IEC 14496-15, E.3) and facts of an hvcC."""
    if len(config) < 23:
        raise TranscodingError("hvcC is cut short")
    space, tier, profile = config[1] >> 6, config[1] >> 5 & 1, config[1] & 31
    compatibility = int(f"{int.from_bytes(config[2:6]):032b}"[::-1], 2)
    constraints = [f"{byte:X}" for byte in config[6:12].rstrip(b"\0")]
    word = [f"{' ABC'[space].strip()}{profile}", f"{compatibility:X}", f"{'LH'[tier]}{config[12]}", *constraints]
    sei, at = set(), 23
    for _ in range(config[22]):
        kind, count = config[at] & 63, struct.unpack_from(">H", config, at + 1)[0]
        at += 3
        for _ in range(count):
            length = struct.unpack_from(">H", config, at)[0]
            if kind in (39, 40):
                sei |= set(sei_types(config[at + 4 : at + 2 + length]))
            at += 2 + length
    return ".".join(word), VideoFacts(1 + (config[21] & 3), bit_depth=8 + (config[17] & 7), sei=frozenset(sei))


def sei_types(payload: bytes) -> Iterator[int]:
    """Types of the messages of an SEI NAL unit without its header."""
    at = 0
    while at + 2 <= len(payload) and payload[at] != 0x80:
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(payload) and payload[at] == 255:
                number, at = number + 255, at + 1
            if at >= len(payload):
                return
            numbers.append(number + payload[at])
            at += 1
        yield numbers[0]
        at += numbers[1]


def av1_facts(config: bytes) -> tuple[str, VideoFacts]:
    """RFC 6381 suffix (profile, level and tier, bit depth) and facts of an av1C."""
    if len(config) < 4:
        raise TranscodingError("av1C is cut short")
    profile, level, flags = config[1] >> 5, config[1] & 31, config[2]
    depth = (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    return f"{profile}.{level:02d}{'H' if flags & 0x80 else 'M'}.{depth:02d}", VideoFacts(bit_depth=depth)


def key_picture(family: str, sample: memoryview, nal_length: int) -> bool | None:
    """Whether a sample holds an instantaneous decoding refresh; None where the codec is not one that we read.

    Raises:
        TranscodingError: the units of the sample do not fill it exactly.
    """
    if family == "avc":
        return any(header & 31 == 5 for header, _ in _units(sample, nal_length))
    if family == "hevc":
        return any(header >> 1 & 63 in _HEVC_IDR for header, _ in _units(sample, nal_length))
    return _av1_key(sample) if family == "av1" else None


def hdr_messages(family: str, sample: memoryview, nal_length: int) -> set[int]:
    """SEI payload types in one HEVC sample."""
    if family != "hevc":
        return set()
    units = (unit for header, unit in _units(sample, nal_length) if header >> 1 & 63 == 39)
    return {kind for unit in units for kind in sei_types(bytes(unit[2:]))}


def _units(sample: memoryview, nal_length: int) -> Iterator[tuple[int, memoryview]]:
    at, end, count = 0, len(sample), 0
    while at < end:
        count += 1
        if count > _MOST_UNITS:
            raise TranscodingError(f"a sample of more than {_MOST_UNITS} NAL units")
        size = int.from_bytes(sample[at : at + nal_length])
        at += nal_length
        if not size or at + size > end:
            raise TranscodingError(f"a NAL unit claims {size} bytes, its sample has {end - at} left")
        yield sample[at], sample[at : at + size]
        at += size


def _av1_key(sample: memoryview) -> bool:
    """The first frame of a temporal unit is a key frame that is shown (AV1 5.9.2), behind a sequence header."""
    at, sequence = 0, False
    while at < len(sample):
        header, at = sample[at], at + 1
        at += header >> 2 & 1
        size = shift = 0
        while header & 2:
            if at >= len(sample) or shift > 56:
                raise TranscodingError("an OBU's size is cut short")
            byte, at = sample[at], at + 1
            size, shift = size | (byte & 127) << shift, shift + 7
            if not byte & 128:
                break
        if not header & 2:
            size = len(sample) - at
        if at + size > len(sample):
            raise TranscodingError(f"an OBU claims {size} bytes, its sample has {len(sample) - at} left")
        kind = header >> 3 & 15
        sequence |= kind == _OBU_SEQUENCE
        if kind in (_OBU_FRAME_HEADER, _OBU_FRAME):
            return sequence and size > 0 and sample[at] >> 4 == 1  # shown, key frame
        at += size
    return False
