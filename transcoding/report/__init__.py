"""A package's report: one HTML page beside its `package.json` that opens from disk, in English and in Russian.

It reads what `package.json` says and draws it: the rate-quality curve, the ladder, sample frames of source and rungs,
sound, subtitles, the rules of the checker, keys and tools. The charts are SVG inside the page and the frames lie in
`report/`, so it needs no network. Serving knows no `.html`: the page is for those who can open the package's folder.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from transcoding.report import ladder, rules, tracks
from transcoding.report.samples import FOLDER, write_samples
from transcoding.report.words import Text

__all__ = ["FOLDER", "write_report", "write_samples"]
_PAGE = Path(__file__).parent / "page.html"


def write_report(draft: Path, facts: Mapping[str, Any], checks: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` into a draft; returns its path.

    `facts` is what `package.json` holds. Always there: `package_id`, `title_id`, `duration_ms`, `plan`, `video`,
    `audio`, `tools`. Drawn where they are: `vmaf` of a rung in `video` (a score, or `{mean, min}`), `probes` (rows of
    `Probe`), `loudness` (rows of `AudioFacts`), `subtitles`, `protection`, and `key_ids` with what the draft's
    playlists tell of them. `checks` is the checker's report as plain data: `{"findings": [{rule, title, severity,
    state, evidence}]}`. The sample frames are those that `write_samples` left in `report/`.
    """
    sections = [
        ladder.figures(facts, checks or {}),
        ladder.curve(facts),
        ladder.rungs(facts),
        tracks.frames(draft, facts),
        tracks.audio(facts),
        tracks.text(facts),
        rules.findings(checks or {}),
        tracks.keys(draft, facts),
    ]
    lead = Text(
        f"Package {facts['package_id']}, treatment “{ladder.treatment(facts)}”",
        f"Пакет {facts['package_id']}, обработка «{ladder.treatment(facts)}»",
    )
    page = draft / "report.html"
    page.write_text(
        Template(_PAGE.read_text(encoding="utf-8")).substitute(
            title=html.escape(str(facts["title_id"])),
            lead=lead.html(),
            sections="\n".join(section for section in sections if section),
            footer=_footer(facts),
        ),
        encoding="utf-8",
    )
    return page


def _footer(facts: Mapping[str, Any]) -> str:
    made = Text(f"Made with {_tools(facts)}.", f"Сделано: {_tools(facts)}.")
    source = str(facts.get("source_sha256", ""))
    told = Text(f"Source (SHA-256): {source}", f"Исходник (SHA-256): {source}") if source else None
    return made.html() + (f"<br>{told.html()}" if told else "")


def _tools(facts: Mapping[str, Any]) -> str:
    told = facts["tools"]
    return ", ".join(f"{name} {version}" for name, version in told.items()) if isinstance(told, Mapping) else str(told)
