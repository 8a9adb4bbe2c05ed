"""AES-128 on whole CMAF segments (RFC 8216, 5.2): which key each segment has, encrypting and decrypting.

A viewer gets the keys of what may be played, tier by tier, and another one every five minutes of film: who loses the
right to watch stops in the middle of it.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from transcoding.boxes import seconds
from transcoding.errors import TranscodingError
from transcoding.renditions import Rendition, Renditions

KEY_BYTES = 16
SEGMENTS_PER_KEY = 50
TIERS = ("sd", "hd", "uhd", "audio")
_HD_LINES, _UHD_LINES = 720, 1080
_BLOCK_BITS = 128


@dataclass(frozen=True)
class Key:
    """A content key: its public name and its 16 bytes, which no print shows."""

    key_id: str
    secret: bytes = field(repr=False)


# The key of a tier in a period of the film, counted from 0.
KeyOf = Callable[[str, int], Key]


@dataclass(frozen=True)
class Protected:
    """An encrypted draft: its renditions with their sizes as they are now, and what every file was before.

    `digests`: SHA-256 of each clear segment by its name below the draft. `key_ids`: of all keys used, in order.
    """

    renditions: Renditions
    digests: dict[str, str]
    key_ids: tuple[str, ...]


def tier(rendition: Rendition) -> str:
    """Who may get the key: `audio`, or by the lines of the picture `sd` (key frames too), `hd` or `uhd`."""
    if rendition.kind == "audio":
        return "audio"
    height = rendition.track.height
    if rendition.kind == "iframes" or height < _HD_LINES:
        return "sd"
    return "hd" if height <= _UHD_LINES else "uhd"


def periods(rendition: Rendition, segment: Fraction) -> list[int]:
    """The key period of each segment: they change at the same times of the film in all renditions.

    `segment`: seconds of a whole segment of video. Sound is cut like the picture, key frames are counted by their time.
    """
    if rendition.kind != "iframes":
        return [number // SEGMENTS_PER_KEY for number in range(len(rendition.segments))]
    starts = (seconds(frame.start, rendition.track) for frame in rendition.segments)
    return [int(start / segment) // SEGMENTS_PER_KEY for start in starts]


def segment_keys(rendition: Rendition, segment: Fraction, key_of: KeyOf) -> list[Key]:
    """The key of each segment of a rendition."""
    return [key_of(tier(rendition), period) for period in periods(rendition, segment)]


def encrypt(draft: Path, renditions: Renditions, key_of: KeyOf) -> Protected:
    """Encrypt every segment of video, its other variants, sound and key frames below `draft`, file by file in place.

    Initialisation segments, subtitles, thumbnails and the poster stay clear. A draft that was only partly encrypted
    when its worker died must be thrown away: nothing in a file tells whether it is encrypted.
    """
    digests: dict[str, str] = {}
    used: dict[str, None] = {}
    done = {"video": [], "audio": [], "iframes": []}
    for rendition in renditions.media:
        segments, twins = [], []
        keys = segment_keys(rendition, renditions.segment, key_of)
        for number, (segment, key) in enumerate(zip(rendition.segments, keys, strict=True)):
            used[key.key_id] = None
            files = [draft / rendition.folder / segment.name]
            files += [draft / "variants" / rendition.name / segment.name] if rendition.twins else []
            for path in files:
                digests[str(path.relative_to(draft))] = _encrypt_file(path, key.secret, number)
            segments.append(replace(segment, size=files[0].stat().st_size))
            twins += [path.stat().st_size for path in files[1:]]
        done[rendition.kind].append(replace(rendition, segments=tuple(segments), twins=tuple(twins)))
    now = replace(renditions, **{kind: tuple(members) for kind, members in done.items()})
    return Protected(now, digests, tuple(used))


def _encrypt_file(path: Path, secret: bytes, sequence: int) -> str:
    """SHA-256 of what was there. Through a neighbour, so that no link to the clear file is written through."""
    clear = path.read_bytes()
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(encrypt_segment(clear, secret, sequence))
    os.replace(draft, path)
    return hashlib.sha256(clear).hexdigest()


def encrypt_segment(data: bytes, secret: bytes, sequence: int) -> bytes:
    """AES-128-CBC with PKCS7 padding; the IV is the media sequence number (RFC 8216, 5.2)."""
    padder = PKCS7(_BLOCK_BITS).padder()
    cipher = _cipher(secret, sequence).encryptor()
    return cipher.update(padder.update(data) + padder.finalize()) + cipher.finalize()


def decrypt_segment(data: bytes, secret: bytes, sequence: int) -> bytes:
    """What `encrypt_segment` was given.

    Raises:
        TranscodingError: the data is not whole blocks, or the key or the number is not the one it was encrypted with.
    """
    cipher = _cipher(secret, sequence).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    try:
        return unpadder.update(cipher.update(data) + cipher.finalize()) + unpadder.finalize()
    except ValueError:
        problem = f"segment {sequence} ({len(data)} bytes) cannot be decrypted: it is damaged or the key is another's"
        raise TranscodingError(problem) from None


def _cipher(secret: bytes, sequence: int) -> Cipher[CBC]:
    if len(secret) != KEY_BYTES:
        raise TranscodingError(f"a content key of {len(secret)} bytes; AES-128 takes {KEY_BYTES}")
    return Cipher(AES128(secret), CBC(sequence.to_bytes(KEY_BYTES)))


def playlist_keys(playlist: str) -> Iterator[tuple[str, int, str | None]]:
    """Name, media sequence number and key URI (none: clear) of each segment that a media playlist lists."""
    number, uri = 0, None
    for line in playlist.splitlines():
        if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
            number = int(line.partition(":")[2])
        elif line.startswith("#EXT-X-KEY:"):
            uri = None if "METHOD=NONE" in line else line.partition('URI="')[2].partition('"')[0]
        elif line and not line.startswith("#"):
            yield line, number, uri
            number += 1
