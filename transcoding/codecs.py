"""Codec names for manifests (RFC 6381) from the decoder configurations in sample entries."""

from transcoding.errors import TranscodingError

# AudioSpecificConfig's channel configurations (ISO/IEC 14496-3, table 1.19); 0: written elsewhere.
_AAC_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)


def avc_name(entry: str, record: bytes) -> str:
    """`avc1.64001f`: profile, constraints and level of an avcC (ISO/IEC 14496-15, 5.3.3)."""
    return f"{entry}.{record[1:4].hex()}"


def hevc_name(entry: str, record: bytes) -> str:
    """`hvc1.2.4.L93.90`: of an hvcC (ISO/IEC 14496-15, annex E.3)."""
    space, tier, profile = record[1] >> 6, record[1] >> 5 & 1, record[1] & 31
    # The compatibility flags stand with the bit of profile 0 in front, and are written with it at the end.
    flags = int(f"{int.from_bytes(record[2:6]):032b}"[::-1], 2)
    constraints = [f"{byte:X}" for byte in record[6:12].rstrip(b"\0")]
    words = [f"{('', 'A', 'B', 'C')[space]}{profile}", f"{flags:X}", f"{'LH'[tier]}{record[12]}", *constraints]
    return ".".join([entry, *words])


def av1_name(record: bytes, colour: tuple[int, int, int, bool]) -> str:
    """`av01.0.08M.10`: of an av1C (AV1 codec ISO media file format binding, section 5).

    `colour`: primaries, transfer and matrix (ITU-T H.273) and whether the range is full. They are written only where
    they, or the sampling, are not the usual ones, as the binding allows.
    """
    profile, level, tier = record[1] >> 5, record[1] & 31, record[2] >> 7
    high, twelve, mono = record[2] >> 6 & 1, record[2] >> 5 & 1, record[2] >> 4 & 1
    across, down, position = record[2] >> 3 & 1, record[2] >> 2 & 1, record[2] & 3
    name = f"av01.{profile}.{level:02d}{'MH'[tier]}.{8 + 2 * high + 2 * twelve:02d}"
    primaries, transfer, matrix, full = colour
    sampling = f"{mono}.{across}{down}{position}"
    rest = f"{sampling}.{primaries:02d}.{transfer:02d}.{matrix:02d}.{int(full)}"
    return name if rest == "0.110.01.01.01.0" else f"{name}.{rest}"


def aac_name(descriptors: bytes) -> tuple[str, int]:
    """`mp4a.40.2` and the channels, from an elementary stream descriptor (ISO/IEC 14496-1, 7.2.6.5).

    0 channels: the configuration leaves them to the stream.

    Raises:
        TranscodingError: there is no decoder configuration.
    """
    at, object_type = 0, 0
    headers = {0x03: 3, 0x04: 13}  # what stands before the nested descriptors: of the stream, of the decoder
    while at < len(descriptors):
        tag, at = descriptors[at], at + 1
        while descriptors[at] & 0x80:
            at += 1
        at += 1
        if tag == 0x04:
            object_type = descriptors[at]
        if tag == 0x05:
            config = int.from_bytes(descriptors[at : at + 6].ljust(6, b"\0"))
            kind, rate = config >> 43, config >> 39 & 15
            channels = config >> (11 if rate == 15 else 35) & 15
            known = _AAC_CHANNELS[channels] if channels < len(_AAC_CHANNELS) else 0
            return f"mp4a.{object_type:x}.{kind}", known
        at += headers.get(tag, len(descriptors))
    raise TranscodingError("an audio track without a decoder configuration")


def hevc_has_hdr10(record: bytes) -> tuple[bool, bool]:
    """Whether an hvcC holds the SEI messages of a mastering display (137) and of content light levels (144)."""
    kinds: set[int] = set()
    at = 23
    for _ in range(record[22]):
        nal_type, count, at = record[at] & 63, int.from_bytes(record[at + 1 : at + 3]), at + 3
        for _ in range(count):
            length = int.from_bytes(record[at : at + 2])
            if nal_type == 39:  # a prefix SEI; its first message's type follows the two bytes of the header
                kinds.add(record[at + 4])
            at += 2 + length
    return 137 in kinds, 144 in kinds
