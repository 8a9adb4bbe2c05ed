"""Words in two languages, and the HTML around them."""

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """The same words in both languages; the page shows one of them."""

    en: str
    ru: str

    def html(self) -> str:
        return f'<span lang="en">{html.escape(self.en)}</span><span lang="ru">{html.escape(self.ru)}</span>'


@dataclass(frozen=True)
class Markup:
    """HTML that is made here, put in as it is."""

    text: str


Cell = str | Text | Markup
NOTHING = "–"


def markup(cell: Cell) -> str:
    """Whatever stands in a cell, as HTML; plain text is escaped."""
    if isinstance(cell, Markup):
        return cell.text
    return cell.html() if isinstance(cell, Text) else html.escape(cell)


def section(title: Text, note: Text | None, content: str) -> str:
    lead = f"<p>{note.html()}</p>" if note else ""
    return f"<section><h2>{title.html()}</h2>{lead}{content}</section>"


def table(head: Sequence[Text], body: Sequence[Sequence[Cell]]) -> str:
    top = "".join(f"<th>{cell.html()}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{markup(cell)}</td>' for cell in row)}</tr>" for row in body)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def number(value: object, digits: int = 0) -> str:
    """A number with thin groups of thousands, a dash where there is none."""
    if not isinstance(value, int | float):
        return NOTHING
    return f"{value:,.{digits}f}".replace(",", "\u202f")
