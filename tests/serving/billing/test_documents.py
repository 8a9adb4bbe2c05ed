"""Papers and letters: right in both languages, whoever looks and whenever."""

import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg.types.range import Range

from serving.billing.documents.letters import LETTERS
from serving.billing.documents.model import Seller, document, sheet
from serving.billing.documents.paper import html, pdf
from serving.billing.invoices.core import Invoice
from serving.billing.invoices.lines import Line
from serving.letters import LetterError, compose, screen
from tests.serving.billing.pdf_text import pdf_text

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


def at(month: int, day: int) -> datetime:
    return datetime(2026, month, day, 22, 30, tzinfo=UTC)


LINES = (
    Line("plan", 64900, names={"ru": "Премиум, месяц", "en": "Premium, one month"}, period=Range(at(5, 4), at(6, 4))),
    Line("unused", -22450, names={}),
    Line("discount", -4245, names={"ru": "Промокод <ВЕСНА>", "en": "Code <SPRING>"}),
)
INVOICE = Invoice(
    "i", "M-0000123", "c", "subscription", None, "s", None, "RUB", 38205, 4245, 6889, "RU", 2200, 1000, 500, "paid",
    "change", None, "ru", "RU", at(5, 4), at(5, 5), LINES,
)  # fmt: skip
SELLER = Seller("ООО «Утренний сеанс»", "123456, Москва, ул. Ёлочная, 1", "7701234567")


def test_a_receipt_tells_in_both_languages_what_was_sold_and_paid():
    paper = document(INVOICE, SELLER, paid_by="Visa •••• 4242")
    ru = pdf_text(pdf(sheet(paper, "ru"))).splitlines()
    for told in (
        "Квитанция", "ООО «Утренний сеанс»", "ИНН 7701234567", "M-0000123", "4 мая 2026 г.", "5 мая 2026 г.",
        "Visa •••• 4242", "Премиум, месяц", "649,00 ₽", "4 мая 2026 г. – 4 июня 2026 г.",
        "Неиспользованная часть прежней подписки", "-224,50 ₽", "Промокод <ВЕСНА>", "382,05 ₽",
        "в том числе НДС 22 %", "68,89 ₽", "-10,00 ₽", "372,05 ₽", "5,00 ₽",
    ):  # fmt: skip
        assert told in ru, told
    english = sheet(paper, "en")
    en = pdf_text(pdf(english)).splitlines()
    for told in ("Receipt", "May 4, 2026", "Premium, one month", "RUB649.00", "of which VAT 22%", "Paid", "RUB372.05"):
        assert told in en, told
    page = html(english).decode()
    assert "Code &lt;SPRING&gt;" in page
    assert "<SPRING>" not in page
    assert 'lang="en"' in page


def test_an_invoice_asks_and_a_credit_note_names_what_it_takes_back():
    unpaid = replace(INVOICE, state="open", paid_at=None)
    assert sheet(document(unpaid, SELLER, paid_by="Visa"), "en").heading == "Invoice"
    assert ("To pay", "RUB372.05", True) in sheet(document(unpaid, SELLER), "en").sums
    note = replace(INVOICE, purpose="credit", credits="i", number="M-0000124")
    told = sheet(document(note, SELLER, credited="M-0000123"), "ru")
    assert told.heading == "Кредит-нота"
    assert ("К документу", "M-0000123") in told.facts
    assert [name for name, _, _ in told.sums] == ["Итого", "в том числе НДС 22 %"]


def test_days_are_those_of_the_buyer():
    told = sheet(document(INVOICE, SELLER), "ru", "Asia/Vladivostok")
    assert ("Дата", "5 мая 2026\u202fг.") in told.facts


def test_the_same_invoice_is_the_same_bytes_in_every_process():
    known = pdf(sheet(document(INVOICE, SELLER), "ru"))
    assert len(known) < 40_000
    again = pdf(sheet(document(INVOICE, SELLER), "ru"))
    script = (
        "import sys; from tests.serving.billing.test_documents import *; "
        "sys.stdout.buffer.write(pdf(sheet(document(INVOICE, SELLER), 'ru')))"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", script], cwd=root, env={"PYTHONHASHSEED": "7"}, capture_output=True)
    assert run.stdout == again == known, run.stderr.decode()


def test_long_and_foreign_names_are_printed_on_as_many_pages_as_they_need():
    lines = [replace(LINES[0], names={"en": f"{n} 映画 🎬 " + "a very long name of a film " * 9}) for n in range(60)]
    drawn = pdf(sheet(document(replace(INVOICE, lines=tuple(lines)), SELLER), "en"))
    assert len(re.findall(rb"/Type /Page\b", drawn)) > 3
    assert pdf_text(drawn).count("a very long name") >= 60
    for names, printed in (
        ({"ja": "七人の侍", "en": "Seven Samurai"}, "Seven Samurai"), ({"ja": "七人の侍", "ru": "Самураи"}, "Самураи"),
        ({"ja": "七人の侍"}, "Rental"),
    ):  # fmt: skip
        film = replace(INVOICE, lines=(replace(LINES[0], kind="rent", names=names),))
        told = sheet(document(film, SELLER), "ja" if "en" in names else "en")
        assert printed in pdf_text(pdf(told)), names
    yen = replace(INVOICE, currency="JPY", lines=(replace(LINES[0], amount_minor=1290),), total_minor=1290)
    assert "¥1,290" in pdf_text(pdf(sheet(document(yen, SELLER), "en")))
