"""What an account may watch by: plans (subscribed or given), and titles (rented, bought or given)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# Who has no plan watches what is free, or was paid for, on one device at a time.
STREAMS_WITHOUT_PLAN = 1


@dataclass(frozen=True, slots=True)
class Window:
    """From (inclusive) until (exclusive); None: no such bound."""

    from_: datetime | None = None
    until: datetime | None = None

    def holds(self, moment: datetime) -> bool:
        return (self.from_ is None or self.from_ <= moment) and (self.until is None or moment < self.until)


ALWAYS = Window()


@dataclass(frozen=True, slots=True)
class HeldPlan:
    """A plan while it lasts: `opens` offers of these plans, `max_height` in lines (None: any), no `devices`: on any."""

    plan_id: str
    opens: frozenset[str]
    streams: int
    max_height: int | None = None
    devices: frozenset[str] = frozenset()
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class HeldTitle:
    """A title and all below it: `kind` is `rent`, `buy` or `grant`. A play starts a waiting rental."""

    entitlement_id: str
    kind: str
    title_id: str
    is_started: bool = False
    window: Window = ALWAYS


@dataclass(frozen=True, slots=True)
class Entitlements:
    plans: tuple[HeldPlan, ...] = ()
    titles: tuple[HeldTitle, ...] = ()

    def plans_at(self, moment: datetime) -> list[HeldPlan]:
        return [plan for plan in self.plans if plan.window.holds(moment)]

    def streams(self, moment: datetime) -> int:
        """How many streams may run at once."""
        return max((plan.streams for plan in self.plans_at(moment)), default=STREAMS_WITHOUT_PLAN)

    def title(self, title_ids: Iterable[str], moment: datetime) -> HeldTitle | None:
        """What opens one of these titles: rather what needs not be started, rather what lasts longest."""
        wanted = set(title_ids)
        held = [t for t in self.titles if t.title_id in wanted and t.window.holds(moment)]
        return min(held, key=_wear, default=None)


NOTHING = Entitlements()


def _wear(held: HeldTitle) -> tuple[bool, float]:
    until = held.window.until
    return held.kind == "rent" and not held.is_started, -(until.timestamp() if until else float("inf"))


def parse(found: Mapping[str, Any]) -> Entitlements:
    """Entitlements from the answer of the SQL function `entitlements_of`."""
    return Entitlements(
        tuple(
            HeldPlan(
                plan["plan"],
                frozenset((plan["plan"], *plan["includes"])),
                plan["streams"],
                plan["max_height"],
                frozenset(plan["devices"]),
                window(plan),
            )
            for plan in found["plans"]
        ),
        tuple(HeldTitle(t["id"], t["kind"], t["title"], t["is_started"], window(t)) for t in found["titles"]),
    )


def window(found: Mapping[str, Any]) -> Window:
    """The window between `from` and `until`, Unix seconds."""
    return Window(_at(found["from"]), _at(found["until"]))


def _at(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
