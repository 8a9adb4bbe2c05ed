import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.cues import Cue, CuesError, clean, decode, read_cues, webvtt

ONE = "1\n00:00:01,000 --> 00:00:02,000\n"
RUSSIAN = "Ёжик шёл в тумане, и звёзды были похожи на лошадь."

ASS = r"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,20,&H00FFFFFF

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\an8\i1}Верх{\i0}\Nвторая
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,{\p1}m 0 0 l 100 100
Comment: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,not shown
"""


def texts(written: str, form: str = "srt") -> list[str]:
    return [cue.text for cue in read_cues(written.encode(), form).cues]


def test_srt_with_what_people_make_of_it() -> None:
    written = (
        "\ufeff1\r\n00:00:01,5 --> 00:00:02,25 X1:100 X2:200\r\nHello <3\r\n\r\nafter a blank line\r\n\r\n"
        "2\r\n0:00:03.000-->0:00:04.000\r\n{\\an8}- <font color='#ff0000'>Red</font>\r\n- Привет\r\n"
        "3\r\n1:00:00,000 --> 1:00:01,000\r\nno blank line before"
    )
    found = read_cues(written.encode(), "srt")
    assert found.dropped == ()
    assert found.cues == (
        Cue(1500, 2250, "Hello &lt;3\nafter a blank line"),
        Cue(3000, 4000, "- Red\n- Привет", "line:0"),
        Cue(3_600_000, 3_601_000, "no blank line before"),
    )


def test_webvtt_keeps_its_settings_and_voices_and_loses_notes_and_styles() -> None:
    written = (
        "WEBVTT - a title\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\nNOTE\nnot shown\n\n"
        "STYLE\n::cue { color: red }\n\nintro\n00:01.000 --> 00:02.000 line:10% align:start region:x onclick:evil\n"
        "<v.loud Bob>Hi <c.yellow>there</c></v> &amp; <00:01.500>you\n\n"
        "01:00:00.000 --> 01:00:01.000\n&lt;not a tag&gt;\n"
    )
    found = read_cues(written.encode(), "vtt")
    assert found.dropped == ()
    assert found.cues == (
        Cue(1000, 2000, "<v loud Bob>Hi there</v> &amp; you", "line:10% align:start"),
        Cue(3_600_000, 3_601_000, "&lt;not a tag&gt;"),
    )


def test_ass_styles_become_tags_and_drawings_go() -> None:
    assert read_cues(ASS.encode(), "ass").cues == (Cue(1000, 2500, "<i>Верх</i>\nвторая", "line:0"),)


def test_what_cannot_be_used_is_named_with_its_line() -> None:
    written = (
        "words from nowhere\n\n"
        "1\n00:00:05,000 --> 00:00:03,000\nbackwards\n\n"
        "2\n00:00:0x,000 --> 00:00:09,000\nno time\n\n"
        "3\n00:00:06,000 --> 00:00:06,000\nno length\n\n"
        "4\n00:00:07,000 --> 00:00:08,000\n<i> </i>\n\n"
        "5\n00:00:01,000 --> 00:00:02,000\ngood\n"
    )
    found = read_cues(written.encode(), "srt")
    assert [cue.text for cue in found.cues] == ["good"]
    assert [(item.line, item.reason) for item in found.dropped] == [
        (1, "text without times"),
        (4, "ends before it begins"),
        (8, "its times cannot be read"),
        (12, "lasts no time"),
        (16, "has no text"),
    ]


def test_cues_come_in_the_order_of_their_times() -> None:
    written = "1\n00:00:05,000 --> 00:00:06,000\nlater\n\n2\n00:00:01,000 --> 00:00:02,000\nfirst\n"
    assert texts(written) == ["first", "later"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251", "koi8-r", "cp866"])
@pytest.mark.parametrize("language", ["ru", "und"])
def test_russian_in_every_encoding_that_it_comes_in(encoding: str, language: str) -> None:
    written = RUSSIAN if encoding != "koi8-r" else RUSSIAN.replace("ё", "е").replace("Ё", "Е")
    assert decode((ONE + written).encode(encoding), language).endswith(written)


def test_western_and_central_european_code_pages() -> None:
    french, polish = "Ça va ? Très bien, merci ; à bientôt.", "Zażółć gęślą jaźń"
    assert decode(french.encode("cp1252")) == french
    assert decode(polish.encode("cp1250"), "pl") == polish


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"\x00\x01\x02" * 100, "not a text file"),
        (b"\xff\xd8\xff\xe0" + bytes(range(32)) * 20, "not a text file"),
        (b"just words\n", "no subtitle in it can be used; line 1: text without times"),
    ],
)
@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_what_is_no_subtitle_file_says_why(data: bytes, reason: str, form: str) -> None:
    with pytest.raises(CuesError, match=reason):
        read_cues(data, form)


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("<i>\nHello\n</i>", "<i>Hello</i>"),
        ("<b>a<i>b</b>c", "<b>a<i>b</i></b>c"),
        ("</i>x", "x"),
        ("if x<y and y>z & so on", "if x&lt;y and y&gt;z &amp; so on"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a --> b", "a --&gt; b"),
        ("{\\i1}open", "<i>open</i>"),
        ("{braces} stay", "{braces} stay"),
        ("\u200e", ""),
        ("tab\there\x07", "tab here"),
    ],
)
def test_markup_becomes_webvtts_own(written: str, cleaned: str) -> None:
    assert clean(written)[0] == cleaned


pieces = st.sampled_from(
    ["<", ">", "&", "<i>", "</i>", "<b>", "{\\i1}", "<v Bob>", "\n", " ", "&amp;", "&lt;", "-->", "7"]
)
lines = st.lists(pieces | st.characters(blacklist_categories=("Cs",)), max_size=20).map("".join)


@given(lines)
def test_clean_text_is_safe_inside_webvtt_and_stays_as_it_is(written: str) -> None:
    text, settings = clean(written)
    assert "-->" not in text
    assert "" not in text.split("\n") or text == ""
    assert clean(text)[0] == text
    if text:
        cue = Cue(1000, 2000, text, settings)
        assert read_cues(webvtt([cue, cue]).encode(), "vtt").cues == (cue, cue)


@given(st.binary(max_size=400), st.sampled_from(["srt", "vtt", "ass"]), st.sampled_from(["ru", "en", "und"]))
def test_any_bytes_give_cues_or_a_reason(data: bytes, form: str, language: str) -> None:
    try:
        found = read_cues(data + b"\n\n1\n00:00:01,000 --> 00:00:02,000\nx\n", form, language)
    except CuesError:
        return
    assert all(cue.start_ms < cue.end_ms and cue.text for cue in found.cues)
