"""A sheet as HTML that prints well, and as PDF. The same sheet is the same bytes."""

import logging
from collections.abc import Container, Sequence
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from serving.billing.documents.model import Sheet
from serving.errors import ServingError

STYLE = """
body { font: 11pt/1.45 "DejaVu Sans", system-ui, sans-serif; color: #1c1822; background: #fff; max-width: 42rem;
  margin: 2rem auto; padding: 0 1.2rem; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 1rem 2rem; }
h1 { font-size: 1.7rem; margin: 0; } address { font-style: normal; text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { color: #665f70; } dd { margin: 0; }
table { width: 100%; border-collapse: collapse; } th { text-align: left; color: #665f70; font-weight: 400; }
th, td { padding: .45rem 0; border-bottom: 1px solid #d9d4e0; vertical-align: top; }
td:last-child, th:last-child { text-align: right; white-space: nowrap; padding-left: 1rem; }
small { display: block; color: #665f70; } tfoot td { border: 0; padding: .25rem 0; } footer { color: #665f70; }
@media print { body { margin: 0; max-width: none; } }
@page { margin: 20mm; }
"""
_FONTS = (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf"))
_SOFT, _DARK, _RULE = (102, 95, 112), (28, 24, 34), (217, 212, 224)
_WIDTH, _AMOUNT_WIDTH = 170, 45  # mm, within margins of 20


def html(sheet: Sheet) -> bytes:
    """The sheet as a page of its own."""
    seller = "<br>".join(f"<strong>{escape(s)}</strong>" if n == 0 else escape(s) for n, s in enumerate(sheet.seller))
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in sheet.facts)
    lines = "".join(
        f"<tr><td>{escape(name)}{f'<small>{escape(note)}</small>' if note else ''}</td><td>{escape(amount)}</td></tr>"
        for name, note, amount in sheet.lines
    )
    sums = "".join(
        f"<tr><td>{_strong(name, strong)}</td><td>{_strong(amount, strong)}</td></tr>"
        for name, amount, strong in sheet.sums
    )
    title = f"{sheet.heading} {sheet.number}"
    page = (
        f'<!doctype html>\n<html lang="{sheet.language}">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<header><h1>{escape(sheet.heading)}</h1><address>{seller}</address></header>\n<dl>{facts}</dl>\n"
        f"<table><thead><tr><th>{escape(sheet.head[0])}</th><th>{escape(sheet.head[1])}</th></tr></thead>\n"
        f"<tbody>{lines}</tbody>\n<tfoot>{sums}</tfoot></table>\n<footer><p>{escape(sheet.foot)}</p></footer>\n"
        "</body>\n</html>\n"
    )
    return page.encode()


def _strong(text: str, strong: bool) -> str:
    return f"<strong>{escape(text)}</strong>" if strong else escape(text)


def pdf(sheet: Sheet) -> bytes:
    """The sheet on A4, with the letters that it needs of DejaVu Sans. Takes some tenths of a second: not on the loop.

    Raises:
        ServingError: the fonts are not installed.
    """
    from fpdf import FPDF

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every table that it leaves out
    page = FPDF(format="A4")
    for style, name in _FONTS:
        page.add_font("paper", style, str(_fonts() / name))
    page.set_margin(20)
    page.set_auto_page_break(True, 20)
    page.set_creation_date(sheet.issued_at)
    page.set_title(f"{sheet.heading} {sheet.number}")
    page.set_author(sheet.seller[0])
    page.set_lang(sheet.language)
    page.add_page()
    _head(page, sheet)
    _table(page, sheet)
    page.ln(12)
    _text(page, sheet.foot, 9, _SOFT)
    return bytes(page.output())


def _head(page: Any, sheet: Sheet) -> None:
    top = page.get_y()
    _text(page, sheet.heading, 20, _DARK, "B", width=80)
    below = page.get_y()
    page.set_y(top)
    for at, line in enumerate(sheet.seller):
        page.set_x(105)
        _text(page, line, 10, _DARK if at == 0 else _SOFT, "B" if at == 0 else "", width=85, align="R")
    page.set_y(max(below, page.get_y()) + 8)
    for name, value in sheet.facts:
        line = page.get_y()
        _text(page, name, 10, _SOFT, width=45)
        page.set_xy(65, line)
        _text(page, value, 10, _DARK, width=125)
    page.ln(8)


def printable(name: str, others: Sequence[str], glyphs: Container[int]) -> str:
    """The name, or what else it is called where the font lacks most of its letters. Pure."""

    def share(text: str) -> float:
        return sum(ord(letter) in glyphs for letter in text) / max(len(text), 1)

    return name if share(name) > 0.5 else next((each for each in others if share(each) == 1), name)


def _table(page: Any, sheet: Sheet) -> None:
    _pair(page, sheet.head[0], sheet.head[1], _SOFT)
    _rule(page)
    glyphs = page.fonts["paper"].cmap
    for (name, note, amount), others in zip(sheet.lines, sheet.others, strict=True):
        _pair(page, printable(name, others, glyphs), amount, _DARK)
        if note:
            _text(page, note, 8.5, _SOFT, width=_WIDTH - _AMOUNT_WIDTH)
        _rule(page)
    for name, amount, strong in sheet.sums:
        _pair(page, name, amount, _DARK, "B" if strong else "")


def _pair(page: Any, name: str, amount: str, colour: tuple[int, int, int], style: str = "") -> None:
    if page.will_page_break(12):
        page.add_page()
    top = page.get_y()
    page.set_x(20 + _WIDTH - _AMOUNT_WIDTH)
    _text(page, amount, 10, colour, style, width=_AMOUNT_WIDTH, align="R")
    page.set_y(top)
    _text(page, name, 10, colour, style, width=_WIDTH - _AMOUNT_WIDTH)


def _rule(page: Any) -> None:
    page.set_draw_color(*_RULE)
    page.line(20, page.get_y() + 1, 190, page.get_y() + 1)
    page.ln(3)


def _text(
    page: Any, text: str, size: float, colour: tuple[int, int, int], style: str = "", *, width: float = 0,
    align: str = "L",
) -> None:  # fmt: skip
    page.set_font("paper", style, size)
    page.set_text_color(*colour)
    page.multi_cell(width, size * 0.55, text, align=align, new_x="LMARGIN", new_y="NEXT")


def _fonts() -> Path:
    """The folder of the fonts that come with Matplotlib, which need not be imported for that."""
    found = find_spec("matplotlib")
    for place in (found.submodule_search_locations or ()) if found else ():
        folder = Path(place) / "mpl-data" / "fonts" / "ttf"
        if (folder / _FONTS[0][1]).is_file():
            return folder
    raise ServingError("DejaVu Sans is missing, which Matplotlib brings: install the requirements again")
