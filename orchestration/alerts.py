"""Who is told what: assets that are past their deadline and checks that failed, once when it begins and once when it is
over. Planning is pure; the sensor in `defs/alerts.py` asks Dagster and sends.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Target:
    """What was promised of an asset: not older than `within`. `made_at`: its newest materialisation."""

    asset: str
    owner: str
    within: timedelta
    made_at: datetime | None

    def late(self, now: datetime) -> timedelta | None:
        """By how much it is late; none where it is not, or where it was never made (a new home owes nothing yet)."""
        if self.made_at is None or now - self.made_at <= self.within:
            return None
        return now - self.made_at - self.within


@dataclass(frozen=True)
class Incident:
    """Something is wrong now. `key` stays the same as long as it is."""

    key: str
    text: str


@dataclass(frozen=True)
class Notice:
    """A mail to send, and the incidents that are open after it: key -> when each began (ISO 8601)."""

    subject: str
    text: str
    open: dict[str, str]


def incidents(targets: Iterable[Target], failed_checks: Mapping[str, str], now: datetime) -> list[Incident]:
    """What is wrong now. `failed_checks`: name of the check -> what it says."""
    late = [
        Incident(f"late {target.asset}", f"{target.asset} is {_words(by)} late (owner: {target.owner})")
        for target in sorted(targets, key=lambda target: target.asset)
        if (by := target.late(now)) is not None
    ]
    return late + [Incident(f"failed {name}", f"{name} failed. {why}".strip()) for name, why in failed_checks.items()]


def notice(found: Sequence[Incident], open_before: Mapping[str, str], now: datetime) -> Notice | None:
    """One mail for everything that began or ended since the last look; none where nothing did."""
    keys = {incident.key for incident in found}
    began = [incident for incident in found if incident.key not in open_before]
    over = sorted(set(open_before) - keys)
    if not began and not over:
        return None
    parts = [f"{len(began)} new"] * bool(began) + [f"{len(over)} over"] * bool(over)
    lines = [*_section("New", [incident.text for incident in began])]
    lines += _section("Over", [f"{key}, since {open_before[key]}" for key in over])
    lines += _section("Still open", [f"{key}, since {open_before[key]}" for key in sorted(keys & set(open_before))])
    still = {incident.key: open_before.get(incident.key, now.isoformat(timespec="seconds")) for incident in found}
    return Notice(f"Matinee: {', '.join(parts)}", "\n".join(lines), still)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  - {line}" for line in lines), ""] if lines else []


def _words(length: timedelta) -> str:
    hours = length / timedelta(hours=1)
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} h"
