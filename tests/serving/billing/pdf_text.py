"""The text of a PDF that fpdf2 made: enough of ISO 32000 to read it back by its own ToUnicode tables."""

import re
import zlib

_STREAM = re.compile(rb"stream\n(.*?)\nendstream", re.DOTALL)
_SHOWN = re.compile(rb"/(F\d+) [\d.]+ Tf|\(((?:\\.|[^\\()])*)\) ?Tj", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


def pdf_text(document: bytes) -> str:
    """What stands on its pages, one piece a line, in the order in which it was drawn."""
    assert document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF")
    streams = [_plain(found) for found in _STREAM.findall(document)]
    tables = [_table(stream) for stream in streams if b"beginbfchar" in stream or b"beginbfrange" in stream]
    fonts = {b"F%d" % (at + 1): table for at, table in enumerate(tables)}
    lines: list[str] = []
    for page in (stream for stream in streams if b" Tf" in stream):
        table: dict[int, str] = {}
        for font, shown in _SHOWN.findall(page):
            if font:
                table = fonts[font]
                continue
            raw = re.sub(rb"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), shown, flags=re.DOTALL)
            codes = (int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2))
            lines.append("".join(table[code] for code in codes))
    return "\n".join(lines).replace("\xa0", " ").replace("\u202f", " ")


def _plain(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream


def _table(stream: bytes) -> dict[int, str]:
    """Code of a glyph -> its letters."""
    table = {}
    for code, letters in re.findall(rb"^<([0-9A-Fa-f]{4})> <([0-9A-Fa-f]+)>$", stream, re.MULTILINE):
        table[int(code, 16)] = bytes.fromhex(letters.decode()).decode("utf-16-be")
    for first, last, letter in re.findall(rb"<([0-9A-Fa-f]{4})> <([0-9A-Fa-f]{4})> <([0-9A-Fa-f]+)>", stream):
        start = int(letter, 16)
        table |= {code: chr(start + code - int(first, 16)) for code in range(int(first, 16), int(last, 16) + 1)}
    return table
