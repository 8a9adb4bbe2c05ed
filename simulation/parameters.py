"""Everything that shapes a simulation, as data: how viewers behave, what an experiment changes, how dirty it gets."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from datetime import date, timedelta

from simulation.errors import SimulationError


@dataclass(frozen=True)
class Behaviour:
    """The viewer model. Weights are in units of utility, `*_per_day` are means over viewers."""

    visits_per_day: float = 0.45
    activity_shape: float = 1.3  # of the Gamma over viewers: visits become negative binomial
    match_weight: float = 2.0
    popularity_weight: float = 0.55
    attention: float = 2.6  # of the first place of the first row
    second_row: float = 0.25  # what the second row gets of it
    position_decay: float = 0.22
    row_length: int = 5
    plays_per_visit: int = 4  # at most
    hazard: float = 1.5  # of leaving, over the length of a title, for a viewer to whom it does not matter at all
    match_holds: float = 1.6  # how much of that a full match takes away, in logarithms
    stall_hurts: float = 0.35
    # The one parameter that `home_order` changes: 0 puts the popular row first, 1 the row chosen for the viewer.
    for_you_lead: float = 0.0


@dataclass(frozen=True)
class Effect:
    """What a variant of an experiment does to the world: it sets one named parameter of `Behaviour`."""

    experiment: str = "home_order"
    variant: str = "treatment"
    parameter: str = "for_you_lead"
    value: float = 1.0


@dataclass(frozen=True)
class Dirt:
    """What goes wrong on the way, each with its own rate: a share of events, unless the name says of what."""

    duplicates: float = 0.02  # the same bytes again, later, half of them on a later day
    altered: float = 0.004  # the same id again with another payload, later
    late: float = 0.01  # single events held back for hours
    offline_visits: float = 0.03  # whole visits delivered when the device is back
    too_late_visits: float = 0.004  # whole visits delivered after the limit: refused
    skewed_viewers: float = 0.05  # devices whose clock is wrong by up to a day
    lost_heartbeats: float = 0.02
    lost_stops: float = 0.03
    shuffled: float = 0.05  # of the deliveries: out of order within their minute
    broken: float = 0.01  # besides the real events, equally of every kind that must be refused

    @classmethod
    def none(cls) -> "Dirt":
        return cls(*(0.0 for _ in fields(cls)))


@dataclass(frozen=True)
class Business:
    """What surrounds the viewing: who else comes, when people join, what they pay. Chances, unless the name says what.

    It draws from random streams of its own, so that what people watch does not depend on it.
    """

    bots: float = 0.008  # crawlers, for each viewer
    false_starts: float = 0.015  # of visits: begin with an attempt that never shows a frame
    joins_within: float = 0.08  # of viewers: join during the simulated time, the others up to a year before
    subscribes: float = 0.88
    converts: float = 0.62  # of trials
    yearly: float = 0.15  # of subscriptions
    cancels: float = 0.09  # at each renewal, for who has watched nothing in four weeks
    hours_hold: float = 0.12  # how much of that each hour watched takes away, in logarithms
    payment_fails: float = 0.05  # at each renewal
    recovers: float = 0.7  # of failed payments
    changes_plan: float = 0.04
    pauses: float = 0.02
    returns: float = 0.35  # after leaving
    serial_churners: float = 0.06  # of viewers: leave every other time and come back

    @classmethod
    def none(cls) -> "Business":
        """Viewers alone: nobody pays, everybody was there before."""
        return cls(*(0.0 for _ in fields(cls)))


@dataclass(frozen=True)
class Plan:
    """One simulation. `end` is exclusive: the last simulated day is the one before it (UTC)."""

    end: date
    viewers: int = 400
    days: int = 30
    seed: int = 1
    run: str | None = None
    experiment_suffix: str = ""  # several simulated histories can share a warehouse as experiments of their own
    behaviour: Behaviour = field(default_factory=Behaviour)
    effect: Effect = field(default_factory=Effect)
    dirt: Dirt = field(default_factory=Dirt)
    business: Business = field(default_factory=Business)

    def __post_init__(self) -> None:
        for name, low in (("viewers", 1), ("days", 1), ("seed", 0)):
            if (value := getattr(self, name)) < low:
                raise SimulationError(f"{name} is {value}: give {low} or more")
        for kind in ("dirt", "business"):
            for name, rate in asdict(getattr(self, kind)).items():
                if not 0 <= rate <= 1:
                    raise SimulationError(f"{kind} rate {name} is {rate}: give a share between 0 and 1")

    @property
    def start_ms(self) -> int:
        return day_ms(self.end - timedelta(days=self.days))

    @property
    def end_ms(self) -> int:
        return day_ms(self.end)

    def digest(self, *world: str) -> str:
        """What makes two simulations the same one: every parameter and the titles they watch (hexadecimal SHA-256)."""
        described = asdict(self) | {"end": self.end.isoformat(), "run": None}
        # What a plan does not say does not name it: runs keep their names when the simulator learns something new.
        if self.business == Business():
            del described["business"]
        return hashlib.sha256(json.dumps([described, *world], sort_keys=True).encode()).hexdigest()


MS_PER_DAY = 86_400_000


def day_ms(day: date) -> int:
    """Midnight UTC of a day, in Unix milliseconds."""
    return (day - date(1970, 1, 1)).days * MS_PER_DAY
