"""Languages as containers, file names and people write them, as the tags that players understand (BCP 47)."""

import re

_SHORT = {
    "ara": "ar", "bul": "bg", "ces": "cs", "chi": "zh", "cze": "cs", "dan": "da", "deu": "de", "dut": "nl", "ell": "el",
    "eng": "en", "est": "et", "fin": "fi", "fra": "fr", "fre": "fr", "geo": "ka", "ger": "de", "gre": "el", "heb": "he",
    "hin": "hi", "hun": "hu", "hye": "hy", "arm": "hy", "ita": "it", "jpn": "ja", "kat": "ka", "kaz": "kk", "kor": "ko",
    "lav": "lv", "lit": "lt", "nld": "nl", "nor": "no", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru",
    "slk": "sk", "slo": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tur": "tr", "ukr": "uk", "vie": "vi",
    "zho": "zh",
}  # fmt: skip
# ISO 639-1, all of it: a two-letter word in a file name is a language only if it is one of these.
_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en "
    "eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv "
    "ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne "
    "ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st "
    "su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)
_ISO_639_1 = frozenset(_CODES.split())
_REGIONAL = re.compile(r"([a-z]{2,3})[-_]([a-z]{2}|[0-9]{3})", re.IGNORECASE)


def language_tag(written: str | None) -> str:
    """BCP 47 from what a container says (ISO 639-1 or 639-2); 'und' for nothing or nonsense."""
    tag = (written or "und").strip().lower()
    if not (tag.isascii() and tag.isalpha() and len(tag) in (2, 3)):
        return "und"
    return _SHORT.get(tag, tag)


def named_language(word: str) -> str | None:
    """The tag that a word of a file name stands for (`ru`, `rus`, `pt-BR`); none where it names no language."""
    if regional := _REGIONAL.fullmatch(word):
        language = named_language(regional[1])
        return f"{language}-{regional[2].upper()}" if language else None
    tag = language_tag(word)
    return tag if tag in _ISO_639_1 else None
