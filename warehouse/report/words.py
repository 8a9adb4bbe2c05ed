"""Words in both languages."""

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """The same words in both languages."""

    en: str
    ru: str

    def html(self) -> str:
        """Both, marked by their language: the page shows one of them."""
        return f'<span lang="en">{html.escape(self.en)}</span><span lang="ru">{html.escape(self.ru)}</span>'

    def said(self, language: str) -> str:
        return self.ru if language == "ru" else self.en


LANGUAGES = ("en", "ru")
