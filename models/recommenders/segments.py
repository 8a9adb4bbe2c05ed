"""What is watched lately where a viewer lives and by viewers of the same kind: "trending here", and a candidate source.

The estimator is the posterior mean of a multinomial under a Dirichlet prior, nested: the share of an item among the
plays of one region and kind of profile is (n_i + strength * p_i) / (n + strength), where n counts the segment's plays
and p_i is the share in the segment above it. Above a region's viewers of one kind stand all viewers of this kind, above
these everybody. So a segment that is seldom heard says what those above it say, and one of `strength` plays counts for
as much as its prior. The strength is what the data say of it (`strength_of`): where places do not differ by more than
chance, everybody is heard alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.interactions import Floats, Interactions, Ints, Ragged
from models.recommenders.popularity import DAY_S, Popularity, PopularityFitted

if TYPE_CHECKING:
    import duckdb

Segment = TypeVar("Segment")
KIDS_MATURITY = 12  # profiles that are shown titles up to this age are children's
_KIDS = {False: "", True: "kids"}


@dataclass(frozen=True)
class ProfileAbout:
    """Where a profile watches (ISO 3166-1 alpha-2, None where nobody knows), and whether it is a child's."""

    region: str | None
    kids: bool


def read_profiles(connection: "duckdb.DuckDBPyConnection") -> dict[str, ProfileAbout]:
    """Every profile of the published marts, attached as `marts`, by profile key."""
    rows = connection.execute("SELECT profile_key, country, maturity FROM marts.dim_profile").fetchall()
    return {key: ProfileAbout(country, maturity <= KIDS_MATURITY) for key, country, maturity in rows}


@dataclass(frozen=True)
class SegmentPopularity:
    """Interactions of the last `days` before the newest one; `strength` of the prior, in interactions (None: estimated,
    for kinds of profiles and for the regions of each)."""

    days: int = 14
    strength: float | None = None

    @property
    def name(self) -> str:
        return f"segments_{self.days}d"

    def fit(
        self, data: Interactions, region_of_user: Sequence[str | None], kids_of_user: NDArray[np.bool_]
    ) -> "SegmentPopularityFitted":
        """`region_of_user`, `kids_of_user` [n_users]."""
        everybody = Popularity(self.days).fit(data).counts
        recent = data.where(data.times > data.times.max(initial=0.0) - self.days * DAY_S)
        kids = np.asarray(kids_of_user, dtype=np.bool_)[recent.users]
        regions = np.array([region or "" for region in region_of_user], dtype=np.str_)[recent.users]
        shares = {"": everybody / max(float(everybody.sum()), 1e-9)}
        kinds = {kind: _counts(recent, kids == kind) for kind in (False, True)}
        for kind, above in self._shrunk(kinds, shares[""]).items():
            own = {
                region: _counts(recent, (kids == kind) & (regions == region))
                for region in np.unique(regions[(kids == kind) & (regions != "")]).tolist()
            }
            shares[_key(None, kind)] = above
            shares |= {_key(region, kind): of for region, of in self._shrunk(own, above).items()}
        return SegmentPopularityFitted(tuple(shares), np.stack(list(shares.values())).astype(np.float32))

    def _shrunk(self, counts: dict[Segment, Ints], above: Floats) -> dict[Segment, Floats]:
        """The shares of segments below the one whose shares are `above`."""
        if not counts:
            return {}
        strength = strength_of(np.stack(list(counts.values()))) if self.strength is None else self.strength
        if strength == np.inf:
            return dict.fromkeys(counts, above)
        return {key: (of + strength * above) / max(of.sum() + strength, 1e-9) for key, of in counts.items()}


def strength_of(counts: NDArray[np.integer]) -> float:
    """How many plays of a segment weigh as much as all segments together, from `counts` [segments, n_items].

    Counts of a segment are Dirichlet-multinomial: their chi-square statistic is 1 + (n - 1) / (1 + strength) times that
    of a multinomial, n the plays of a segment (the method of moments; Mosimann, Biometrika 1962). Infinite where
    segments differ no more than chance makes them, or there is but one.
    """
    heard = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(np.float64)
    segments, items = heard.shape
    if segments < 2 or items < 2:
        return np.inf
    plays, whole = heard.sum(axis=1), heard.sum()
    expected = plays[:, None] * heard.sum(axis=0) / whole
    statistic = float(((heard - expected) ** 2 / expected).sum())
    freedom = (segments - 1) * (items - 1)
    # n - 1 of each segment, as much of it as the common shares, which are estimated from it, too, leave.
    size = float(((plays - 1) * (1 - plays / whole)).sum()) * (items - 1)
    correlation = (statistic - freedom) / size if size > 0 else 0.0
    return max(1 / correlation - 1, 0.0) if correlation > 0 else np.inf


def _counts(data: Interactions, mine: NDArray[np.bool_]) -> Ints:
    return np.bincount(data.items[mine], minlength=data.n_items)


@dataclass(frozen=True)
class SegmentPopularityFitted:
    """`shares` [segments, n_items], a row for each of `segments`; the first is everybody."""

    segments: tuple[str, ...]
    shares: Floats

    def of(self, region: str | None, kids: bool) -> PopularityFitted:
        """What is popular there; in a region that was never seen, with this kind of profile everywhere."""
        row = self._place.get(_key(region, kids), self._place[_key(None, kids)])
        return PopularityFitted(self.shares[row])

    def score(self, histories: Ragged) -> Floats:
        """[rows, n_items] what everybody watches: a history says nothing of where somebody is."""
        return PopularityFitted(self.shares[0]).score(histories)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {segment: row for row, segment in enumerate(self.segments)}

    def arrays(self) -> dict[str, NDArray]:
        return {"segments": np.array(self.segments, dtype=np.str_), "shares": self.shares}

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray]) -> "SegmentPopularityFitted":
        return cls(tuple(arrays["segments"].tolist()), arrays["shares"])


def _key(region: str | None, kids: bool) -> str:
    return f"{region or ''}/{_KIDS[kids]}"
