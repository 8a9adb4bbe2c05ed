"""How loud a sound is, told in its initialisation segment (ISO/IEC 14496-12, 12.2.7): players level by it."""

import struct
from pathlib import Path

from transcoding.boxes import boxes, find
from transcoding.errors import TranscodingError

# ISO/IEC 23003-4: what was measured, how (ITU-R BS.1770-4), and how far the number can be trusted.
_PROGRAMME = 1
_BS_1770 = 2
_UNVERIFIED, _ACCURATE = 1, 3
_LEAST_LUFS, _MOST_PEAK = -57.75, 20.0


def tell_loudness(init: Path, lufs: float | None, peak_dbtp: float | None) -> None:
    """Write integrated loudness (LUFS) and true peak (dBTP) into an initialisation segment; silence has neither.

    The peak is that of what the encoder was given; the decoder's may be half a decibel higher, so it counts as
    unverified.
    """
    if lufs is not None:
        init.write_bytes(_inserted(init.read_bytes(), loudness_box(lufs, peak_dbtp)))


def loudness_box(lufs: float, peak_dbtp: float | None) -> bytes:
    """`ludt` with one `tlou`: steps of a quarter LU from -57.75 up, peaks in steps of 1/32 dB from 20 down; 0: none."""
    value = min(255, max(0, round((lufs - _LEAST_LUFS) * 4)))
    peak = 0 if peak_dbtp is None else min(4095, max(1, round((_MOST_PEAK - peak_dbtp) * 32)))
    # Version 0; no downmix and no DRC; no sample peak, the true peak; one measurement.
    trust = _BS_1770 << 4 | (_UNVERIFIED if peak else 0)
    measurement = struct.pack(">BBBB", 1, _PROGRAMME, value, _BS_1770 << 4 | _ACCURATE)
    content = struct.pack(">IH", 0, 0) + peak.to_bytes(3) + bytes([trust]) + measurement
    return _box(b"ludt", _box(b"tlou", content))


def _inserted(init: bytes, ludt: bytes) -> bytes:
    """The box at the end of the track's `udta`, which is made if there is none; all boxes around it grow."""
    path = ["moov", "trak"]
    trak, trak_end = find(init, "moov/trak")
    inside = {kind: (start, end) for kind, start, end in boxes(init, trak, trak_end)}
    at = trak_end
    if "udta" in inside:
        path, at = [*path, "udta"], inside["udta"][1]
    else:
        ludt = _box(b"udta", ludt)
    grown = bytearray(init[:at] + ludt + init[at:])
    start, end = 0, len(init)
    for name in path:
        start, end = find(init, name, start, end)
        size = struct.unpack_from(">I", init, start - 8)[0]
        if size != end - start + 8:
            raise TranscodingError(f"the box {name} has a size of 64 bits: it is not one of ours")
        struct.pack_into(">I", grown, start - 8, size + len(ludt))
    return bytes(grown)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content
