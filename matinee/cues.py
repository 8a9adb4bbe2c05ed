"""Subtitles: SRT, WebVTT and ASS in whatever encoding they came, read into cues whose text is clean WebVTT.

What cannot be used is named with its line, never lost silently. Pure functions.
"""

import codecs
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matinee.errors import MatineeError

FORMATS = ("srt", "vtt", "ass", "ssa")
_CYRILLIC = ("cp1251", "koi8-r", "cp866")
# What Windows wrote before UTF-8, by language; languages of Western Europe share the last resort.
_CODE_PAGES = {
    **dict.fromkeys(("cs", "hr", "hu", "pl", "ro", "sk", "sl"), "cp1250"),
    **dict.fromkeys(("be", "bg", "kk", "mk", "ru", "sr", "uk"), "cyrillic"),
    **dict.fromkeys(("et", "lt", "lv"), "cp1257"),
    "el": "cp1253", "tr": "cp1254", "he": "cp1255", "ar": "cp1256",
}  # fmt: skip
_WESTERN = "cp1252"
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MOST_TEXT = 4000  # characters of one cue, with its markup
_MARK = "-->"
_CLOCK = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*{_MARK}\s*{_CLOCK}(.*)")
_SETTING = re.compile(
    r"vertical:(rl|lr)|line:-?\d+(\.\d+)?%?(,\w+)?|position:\d+(\.\d+)?%(,[\w-]+)?|size:\d+(\.\d+)?%"
    r"|align:(start|center|end|left|right)"
)
_TAG = re.compile(r"<(?P<end>/?)(?P<name>[A-Za-z]+)(?P<rest>[^<>]*)>|<\d[\d:.]*>|<!--.*?-->")
_OVERRIDES = re.compile(r"\{\\[^{}]*\}")  # ASS, and SRT in the hands of ASS's friends
_STYLE = re.compile(r"\\([biu])([01])(?![A-Za-z0-9])")
_CORNER = re.compile(r"\\an([1-9])")
_DRAWING = re.compile(r"\\p[1-9]")
_KEPT_TAGS = frozenset({"b", "i", "u", "ruby", "rt", "v"})
# Other tags that are markup. Anything else in angle brackets is text: "if x<y and y>z".
_GONE_TAGS = frozenset(
    {"br", "c", "center", "div", "em", "font", "lang", "p", "s", "small", "span", "strike", "strong"}
)
_ANY_TAG = re.compile(r"<[^<>]*>")
_AFTER_START, _BEFORE_END = re.compile(r"(<[^/<>][^<>]*>)\n"), re.compile(r"\n(</[^<>]*>)")
_NOTHING = re.compile(r"<(\w+)[^<>]*>\s*</\1>")
_UNSEEN = "\u200b\u200e\u200f\ufeff\xa0 \n"
_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127)) | {9: " "}


class CuesError(MatineeError):
    """A file holds no subtitles that can be read; the message says why."""


@dataclass(frozen=True)
class Cue:
    """Shown from `start_ms` until `end_ms`. `text` is a WebVTT payload, `settings` what stands after its times."""

    start_ms: int
    end_ms: int
    text: str
    settings: str = ""


@dataclass(frozen=True)
class Dropped:
    """Something that is not shown: the line of the file (from 1; the number of the event in ASS), and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Cues:
    """Cues in the order of their times, and what had to be left out."""

    cues: tuple[Cue, ...]
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class _Raw:
    """A cue as written."""

    line: int
    times: tuple[int, int]
    text: str
    settings: str = ""


def read_cues(data: bytes, form: str, language: str = "und") -> Cues:
    """The cues of a subtitle file of one of `FORMATS`; `language` (BCP 47) helps where its encoding is in doubt.

    Raises:
        CuesError: not text, or not a single cue in it.
    """
    text = decode(data, language)
    raw = list(_from_ass(text) if form in ("ass", "ssa") else _from_blocks(text, web=form == "vtt"))
    cues, dropped = [], []
    for item in raw:
        made = _cue(item) if isinstance(item, _Raw) else item
        if isinstance(made, Cue):
            cues.append(made)
        else:
            dropped.append(made)
    if not cues:
        first = f"; line {dropped[0].line}: {dropped[0].reason}" if dropped else ""
        raise CuesError(f"no subtitle in it can be used{first}")
    return Cues(tuple(sorted(cues, key=lambda cue: (cue.start_ms, cue.end_ms))), tuple(dropped))


def decode(data: bytes, language: str = "und") -> str:
    """Text in Unicode: by its byte order mark, as UTF-8, or as the old code page that the language was written in.

    Raises:
        CuesError: empty, or binary.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    if not data.strip():
        raise CuesError("empty: the file has no content")
    if data.count(0) or sum(byte < 32 and byte not in b"\t\n\v\f\r\x1a" for byte in data) > len(data) // 100:
        raise CuesError("not a text file")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _from_code_page(data, language)


def _from_code_page(data: bytes, language: str) -> str:
    base = language.split("-", maxsplit=1)[0]
    letters = sum(byte < 128 and chr(byte).isalpha() for byte in data)
    # Cyrillic is nearly all high bytes; what has accents is mostly ASCII.
    cyrillic = sum(byte >= 128 for byte in data) > letters if base == "und" else _CODE_PAGES.get(base) == "cyrillic"
    if not cyrillic:
        return data.decode(_CODE_PAGES.get(base, _WESTERN), errors="replace")
    # The commonest letters are small ones; in the wrong code page they become capitals or lines.
    tried = [data.decode(encoding, errors="replace") for encoding in _CYRILLIC]
    return max(tried, key=lambda text: sum(text.count(letter) for letter in "оеаинтсрвл"))


def _from_blocks(text: str, *, web: bool) -> Iterator[_Raw | Dropped]:
    """SRT or WebVTT: a line of times, then text; a WebVTT cue ends at a blank line, an SRT cue at the next number."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    marks = [number for number, line in enumerate(lines) if _MARK in line]
    starts = [_start(lines, mark, web=web) for mark in marks]
    yield from _strays(lines, 0, starts[0] if marks else len(lines), web=web)
    for mark, end in zip(marks, [*starts[1:], len(lines)], strict=False):
        body = lines[mark + 1 : max(end, mark + 1)]
        if web and "" in (stripped := [line.strip() for line in body]):
            blank = stripped.index("")
            yield from _strays(lines, mark + 1 + blank, end, web=True)
            body = body[:blank]
        yield _timed(mark + 1, lines[mark], "\n".join(body).strip())


def _start(lines: Sequence[str], mark: int, *, web: bool) -> int:
    """The first line of the cue whose times stand at `mark`: its number, or in WebVTT its name."""
    named = mark > 0 and lines[mark - 1].strip()
    apart = mark < 2 or not lines[mark - 2].strip()
    return mark - 1 if named and (named.isdigit() or (web and apart)) else mark


def _strays(lines: Sequence[str], start: int, end: int, *, web: bool) -> Iterator[Dropped]:
    """Blocks between the cues. WebVTT has its header, notes and styles there; anything else lacks its times."""
    fresh = True
    for number in range(start, end):
        line = lines[number].strip("\ufeff \t")
        if not line:
            fresh = True
        elif fresh:
            fresh = False
            if not (web and line.startswith(("WEBVTT", "NOTE", "STYLE", "REGION", "X-TIMESTAMP-MAP"))):
                yield Dropped(number + 1, "text without times")


def _timed(number: int, line: str, text: str) -> _Raw | Dropped:
    found = _TIMES.fullmatch(line)
    if found is None:
        return Dropped(number, "its times cannot be read")
    times = _milliseconds(*found.group(1, 2, 3, 4)), _milliseconds(*found.group(5, 6, 7, 8))
    return _Raw(number, times, text, " ".join(word for word in found[9].split() if _SETTING.fullmatch(word)))


def _milliseconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> int:
    whole = (int(hours or 0) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * 1000 + int((fraction or "0").ljust(3, "0"))


def _from_ass(text: str) -> Iterator[_Raw]:
    import pysubs2

    try:
        events = pysubs2.SSAFile.from_string(text, format_="ass").events
    except (pysubs2.exceptions.Pysubs2Error, ValueError) as error:
        raise CuesError(f"not a readable ASS file: {error}") from error
    for number, event in enumerate(events, start=1):
        if event.is_comment or _DRAWING.search(event.text):
            continue
        lines = event.text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
        yield _Raw(number, (event.start, event.end), lines)


def _cue(raw: _Raw) -> Cue | Dropped:
    start, end = raw.times
    if end <= start:
        return Dropped(raw.line, "ends before it begins" if end < start else "lasts no time")
    if len(raw.text) > _MOST_TEXT:
        return Dropped(raw.line, f"longer than {_MOST_TEXT} characters")
    text, placed = clean(raw.text)
    if not text:
        return Dropped(raw.line, "has no text")
    return Cue(start, end, text, raw.settings or placed)


def clean(written: str) -> tuple[str, str]:
    """A WebVTT payload from text with the markup of SRT, ASS or WebVTT, and the cue settings that the markup implied.

    Bold, italic, underline, ruby and voices stay, balanced; every other tag goes and its content stays.
    """
    settings = ""
    if corner := _CORNER.search(written):
        settings = _placed(int(corner[1]))
    written = _OVERRIDES.sub(_as_tags, written.translate(_CONTROL))
    made, opened, at = [], [], 0
    for tag in _TAG.finditer(written):
        made.append(_escape(written[at : tag.start()]))
        made += _tag(tag, opened)
        at = tag.end()
    made.append(_escape(written[at:]))
    made += [f"</{name}>" for name in reversed(opened)]
    return _tidy("".join(made)), settings


def _tidy(text: str) -> str:
    """Without empty lines, and without tags around nothing; empty if nothing of it can be seen."""
    text = _BEFORE_END.sub(r"\1", _AFTER_START.sub(r"\1", _without_blanks(text)))
    while (emptied := _NOTHING.sub("", text)) != text:
        text = emptied
    text = _without_blanks(text)
    return text if _ANY_TAG.sub("", text).strip(_UNSEEN) else ""


def _without_blanks(text: str) -> str:
    return "\n".join(line for line in (line.strip() for line in text.split("\n")) if line)


def _placed(corner: int) -> str:
    """ASS numbers the nine places of the screen like a keypad; the bottom centre is what WebVTT does by itself."""
    row = {2: "line:0", 1: "line:50%"}.get((corner - 1) // 3, "")
    column = {0: "align:start", 2: "align:end"}.get((corner - 1) % 3, "")
    return f"{row} {column}".strip()


def _as_tags(overrides: re.Match[str]) -> str:
    return "".join(f"<{'' if on == '1' else '/'}{name}>" for name, on in _STYLE.findall(overrides[0]))


def _tag(tag: re.Match[str], opened: list[str]) -> list[str]:
    """What a tag becomes; `opened` are the names that wait for their end."""
    name = (tag["name"] or "").lower()
    if name not in _KEPT_TAGS:
        return [] if name in _GONE_TAGS or not name else [_escape(tag[0])]
    if not tag["end"]:
        opened.append(name)
        voice = _escape(tag["rest"].lstrip(".").strip()) if name == "v" else ""
        return [f"<{name} {voice}>" if voice else f"<{name}>"]
    if name not in opened:
        return []
    last = len(opened) - 1 - opened[::-1].index(name)
    closed = opened[last:]
    del opened[last:]
    return [f"</{inner}>" for inner in reversed(closed)]


def _escape(text: str) -> str:
    return html.unescape(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def timestamp(milliseconds: int) -> str:
    """As WebVTT writes a time: `01:02:03.004`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def webvtt(cues: Sequence[Cue], header: str = "") -> str:
    """A WebVTT file; `header` are further lines below its first one."""
    head = f"WEBVTT\n{header}\n" if header else "WEBVTT\n"
    blocks = [f"{_span(cue)}\n{cue.text}\n" for cue in cues]
    return "\n".join([head, *blocks])


def _span(cue: Cue) -> str:
    return f"{timestamp(cue.start_ms)} {_MARK} {timestamp(cue.end_ms)} {cue.settings}".rstrip()
