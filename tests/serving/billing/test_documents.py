"""Papers and letters: right in both languages, whoever looks and whenever."""

import pytest

from serving.billing.documents.letters import LETTERS
from serving.letters import LetterError, compose, screen

TOLD = {
    "number": "INV-7", "what": {"en": "Premium", "ru": "Премиум"}, "amount": "649,00 ₽", "plan": "Premium",
    "again": "2026-05-03T08:00:00+00:00", "until": "2026-05-18T08:00:00+00:00", "ends": "2026-05-05T21:00:00+00:00",
    "from": "2026-06-01T00:00:00+00:00", "was": "€9.99", "becomes": "€10.99",
    "why": "payment",
}  # fmt: skip


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("template", LETTERS)
def test_letters_about_money_say_everything_in_words(settings, template, language):
    letter = compose(template, language, {**screen(settings, template), **TOLD})
    text = letter.subject + letter.text
    assert "/#/" in letter.text
    assert not {"{", "}", "None", "+00:00"} & set(text.split()), text
    assert "2026-" not in text
    with pytest.raises(LetterError):
        compose(template, language, TOLD)


def test_days_and_reasons_are_words_of_the_language(settings):
    told = {**screen(settings, "payment_failed"), **TOLD}
    assert "3 мая 2026" in compose("payment_failed", "ru", told).text
    assert "May 3, 2026" in compose("payment_failed", "en", told).text
    assert "Оплачено 649,00 ₽: Премиум." in compose("receipt", "ru", {**screen(settings, "receipt"), **TOLD}).text
    assert "its renewal was not paid for" in compose("subscription_ended", "fr", {**told, "link": "x"}).text
