"""The session watermark: two variants of the top rungs, and one bit a segment that says which one a session gets.

Variant A is the picture plus a faint pattern, variant B the picture minus it. The pattern is smooth (a coarse random
grid, enlarged), one level of luma at most, and follows from a secret of the home and the title. Which variant a session
is given for a segment follows from the secret, the session and the segment's number, so nothing has to be stored.

A copy that mixes both variants (two viewers who average their pictures) carries no readable bits: this scheme tells one
leaking session apart, it is no collusion code.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matinee.secrets import secret
from matinee.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from transcoding.plan import Rung

VARIANTS = "variants"
# The pattern's cells; it is enlarged to every size from these, so all rungs carry the same one.
COLUMNS, ROWS = 41, 23
LEVELS = 1  # of 8-bit luma
_BITS_PER_DIGEST = 256


@dataclass(frozen=True)
class Mark:
    """What marks a title's rungs: the home's secret and the title."""

    secret_key: bytes = field(repr=False)
    title_id: str

    def write(self, rungs: "Iterable[Rung]", folder: Path) -> list[Path]:
        """The files that `pattern_input` names, for all marked rungs; returns their paths."""
        marked = {pattern_name(rung): rung for rung in rungs if rung.marked}
        for name, rung in marked.items():
            levels = pattern(self.secret_key, self.title_id, rung.width, rung.height)
            (folder / name).write_bytes(raw_frame(levels, ten_bits=_ten_bits(rung)))
        return [folder / name for name in marked]


def mark_of(settings: Settings, title_id: str) -> Mark:
    return Mark(key(settings), title_id)


def key(settings: Settings) -> bytes:
    """The 32 bytes from which patterns and bits follow. Losing them makes marks of existing packages unreadable."""
    return secret(settings.home, "watermark")


def bit(secret_key: bytes, playback_id: str, segment: int) -> int:
    """Which variant of a segment a session is given: 0 is A, 1 is B."""
    place = segment % _BITS_PER_DIGEST
    return _digest(secret_key, playback_id, segment // _BITS_PER_DIGEST)[place // 8] >> place % 8 & 1


def bits(secret_key: bytes, playback_id: str, segments: Iterable[int]) -> list[int]:
    """`bit` for many segments of one session."""
    digests: dict[int, bytes] = {}
    for block in {segment // _BITS_PER_DIGEST for segment in segments}:
        digests[block] = _digest(secret_key, playback_id, block)
    places = [(segment // _BITS_PER_DIGEST, segment % _BITS_PER_DIGEST) for segment in segments]
    return [digests[block][place // 8] >> place % 8 & 1 for block, place in places]


def variant(secret_key: bytes, playback_id: str, name: str) -> str:
    """The file below a package that a session is given when it asks for `name`, if its rung is marked.

    A name that is no segment of a picture stays as it is.
    """
    kind, _, rest = name.partition("/")
    rung, _, file = rest.partition("/")
    number, _, suffix = file.partition(".")
    if kind != "video" or suffix != "m4s" or not number.isdecimal() or not bit(secret_key, playback_id, int(number)):
        return name
    return f"{VARIANTS}/{rung}/{file}"


def _digest(secret_key: bytes, playback_id: str, block: int) -> bytes:
    """256 bits of a session, by HMAC-SHA256: those of the segments from `256 * block` on."""
    return hmac.digest(secret_key, f"session\0{playback_id}\0{block}".encode(), hashlib.sha256)


def grid(secret_key: bytes, name: str) -> "np.ndarray":
    """The pattern of a title before it is enlarged: `ROWS` x `COLUMNS` values, mean 0, evenly spread over -1 to 1."""
    import numpy as np

    seed = hmac.digest(secret_key, f"pattern\0{name}".encode(), hashlib.sha256)
    stream = hashlib.shake_256(seed).digest(2 * ROWS * COLUMNS)
    cells = np.frombuffer(stream, dtype="<u2").astype(np.float64) / 32767.5 - 1
    return (cells - cells.mean()).reshape(ROWS, COLUMNS)


def enlarge(cells: "np.ndarray", width: int, height: int) -> "np.ndarray":
    """A grid as a picture of `height` x `width` by cubic interpolation, scaled to a standard deviation of 1."""
    import numpy as np
    from PIL import Image

    small = Image.fromarray(cells.astype(np.float32))
    large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    return large / large.std()


def pattern(secret_key: bytes, title_id: str, width: int, height: int) -> "np.ndarray":
    """What variant A has more than the picture, in levels of 8-bit luma: -1, 0 or 1 for each pixel."""
    import numpy as np

    smooth = enlarge(grid(secret_key, title_id), width, height)
    return np.clip(np.rint(smooth * LEVELS), -LEVELS, LEVELS).astype(np.int8)


def raw_frame(levels: "np.ndarray", *, ten_bits: bool = False) -> bytes:
    """A pattern as a frame of yuv420p or yuv420p10le: the middle of luma's range plus the pattern, no colour."""
    import numpy as np

    rows, columns = levels.shape
    form, unit = ("<u2", 4) if ten_bits else ("u1", 1)
    luma = (levels.astype(np.int32) * unit + 128 * unit).astype(form)
    return luma.tobytes() + np.full(2 * ((columns + 1) // 2) * ((rows + 1) // 2), 128 * unit, dtype=form).tobytes()


def _ten_bits(rung: "Rung") -> bool:
    return rung.codec != "h264"


def pattern_name(rung: "Rung") -> str:
    return f"pattern-{rung.width}x{rung.height}{'-10' if _ten_bits(rung) else ''}.yuv"


def pattern_input(rung: "Rung", folder: Path) -> list[str]:
    """ffmpeg's arguments that open the pattern of a rung; it is one frame, which the filter holds to the end."""
    pixels = "yuv420p10le" if _ten_bits(rung) else "yuv420p"
    return [
        "-protocol_whitelist", "file", "-f", "rawvideo", "-pixel_format", pixels,
        "-video_size", f"{rung.width}x{rung.height}", "-color_range", "tv", "-i", f"file:{folder / pattern_name(rung)}",
    ]  # fmt: skip


def mark_filter(inlet: str, stream: str, variant_a: str, variant_b: str, *, tag: str) -> str:
    """Filter text from a scaled picture (in the rung's own pixel format) to its two variants; labels without brackets.

    `stream` is the pattern's, such as `1:v`; `tag` keeps the inner labels of several rungs apart. `grainmerge` adds
    what its second input has above 128, `grainextract` takes it away; colour stays that of the first.
    """
    return (
        f"[{inlet}]split[{tag}ia][{tag}ib];[{stream}]split[{tag}pa][{tag}pb];"
        f"[{tag}ia][{tag}pa]blend=c0_mode=grainmerge[{variant_a}];"
        f"[{tag}ib][{tag}pb]blend=c0_mode=grainextract[{variant_b}]"
    )
