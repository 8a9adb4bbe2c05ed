"""How codes are written: people type them with spaces, dashes, small letters, or in the other alphabet."""

import re
import unicodedata

from serving.problems import Problem

_CODE = re.compile(r"[0-9A-ZА-ЯЁ](?:-?[0-9A-ZА-ЯЁ]){2,31}")
_LOOK_ALIKES = str.maketrans("0АВЕЁКМНОРСТУХ", "OABEEKMHOPCTYX")


class PromoError(Problem):
    """A code that cannot be used: 422 with `promo_unknown`, `promo_early`, `promo_expired`, `promo_exhausted`,
    `promo_not_for_this`, `promo_used`, `promo_first_time` or `promo_currency`; one that cannot be made: `promo_invalid`
    or 409 `promo_taken`.
    """

    def __init__(self, code: str, detail: str, status: int = 422) -> None:
        super().__init__(status, f"promo_{code}", detail)


def written(text: str) -> str:
    """The code as it is kept and shown: capitals, digits, single dashes.

    Raises:
        PromoError: it has other characters, or is not 3 to 32 long.
    """
    code = re.sub(r"-+", "-", _plain(text)).strip("-")
    if len(code) > 32 or not _CODE.fullmatch(code):
        raise PromoError("invalid", f"a code has 3 to 32 letters (English, Russian), digits and dashes, not {text!r}")
    return code


def key_of(text: str) -> str:
    """What a code is found by; the column `promo.key` says the same of a kept one."""
    return _plain(text).replace("-", "").translate(_LOOK_ALIKES)


def _plain(text: str) -> str:
    """Capitals without spaces; every kind of dash, and the underscore, is a `-`."""
    shown = unicodedata.normalize("NFKC", text).upper()
    return "".join(
        "-" if character == "_" or unicodedata.category(character) == "Pd" or character == "\u2212" else character
        for character in shown
        if not character.isspace() and unicodedata.category(character) != "Cf"
    )
