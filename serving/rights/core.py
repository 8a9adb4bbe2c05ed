"""Who may see and play what: one pure rule for lists, titles, search, recommendations, playing and keys.

The SQL function `visible_title` says for whole lists what `decide` says of seeing; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from serving.rights.entitlements import ALWAYS, HeldTitle, Window, window

if TYPE_CHECKING:
    from serving.profiles.core import Viewer

_DETAILS = {
    "unpublished": "there is no such title",
    "maturity": "this profile's maturity limit hides the title",
    "age": "the account's holder is too young for the title",
    "region": "the title is not offered in your region",
    "no_offer": "the title is not on offer now",
    "unauthenticated": "sign in to play",
    "not_playable": "there is no film to play for this title yet",
    "plan": "your plan does not open the title: choose one of its plans, rent or buy it",
    "rental": "rent or buy the title to play it",
    "streams": "as many devices as your plan allows are playing: stop one, or take over from it",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not: `code` for programs, `detail` for people."""

    code: str

    @property
    def detail(self) -> str:
        return _DETAILS[self.code]


@dataclass(frozen=True, slots=True)
class Device:
    """What plays: `kind` as `POST /api/watch` heard it (`tv`, `phone`, …; None: any), and how many lines it shows."""

    kind: str | None = None
    max_height: int | None = None


ANY_DEVICE = Device()


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """Where, when and to whom an offer is open; no regions: everywhere; no plans: to every plan.

    `kind` is that of the feed: `free`, `subscription`, `rent` or `buy`.
    """

    kind: str = "free"
    plans: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    window: Window = ALWAYS

    def open_in(self, region: str | None) -> bool:
        return not self.regions or region in self.regions


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides about a title. `bare`: made from a film file, not from a feed, and free for everybody.

    `titles`: it and its parents, for who owns a series owns its episodes. `offers` are the title's own, or those of the
    nearest parent that has some.
    """

    published: bool
    bare: bool
    playable: bool
    maturity: int
    offers: Sequence[OfferTerms] = ()
    titles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Right:
    """By what a title plays: rungs up to `max_height` lines (None: all), and the entitlement, if it is one."""

    max_height: int | None = None
    held: HeldTitle | None = None


def decide(
    terms: Terms, viewer: Viewer, device: Device, moment: datetime, *, to_play: bool = False, others: int = 0
) -> Refusal | None:
    """Why the viewer may not see the title (`to_play`: not play it), or None where nothing is in the way.

    `others`: how many other streams of the account run. A title without any offer may be seen, for it is part of the
    catalogue, but not played. What the account rented, bought or was given stays open after its offers ended, in the
    regions that they were for.
    """
    code = _hidden(terms, viewer, moment, to_play=to_play)
    if code is None and to_play:
        code = _barred(terms, viewer, device, moment, others)
    return None if code is None else Refusal(code)


def _hidden(terms: Terms, viewer: Viewer, moment: datetime, *, to_play: bool) -> str | None:
    if not terms.published and not (terms.bare and terms.playable):
        return "unpublished"
    if terms.maturity > viewer.maturity:
        return "maturity"
    if viewer.age is not None and terms.maturity > viewer.age:
        return "age"
    if viewer.entitlements.title(terms.titles, moment) is not None:
        is_here = terms.bare or not terms.offers or any(o.open_in(viewer.region) for o in terms.offers)
        return None if is_here else "region"
    return on_offer(terms, viewer.region, moment) if terms.offers or to_play else None


def on_offer(terms: Terms, region: str | None, moment: datetime) -> str | None:
    """`no_offer`, `region` (open now, but elsewhere), or None: somebody there may play the title now."""
    if terms.bare:
        return None
    open_now = [offer for offer in terms.offers if offer.window.holds(moment)]
    if not open_now:
        return "no_offer"
    return None if any(offer.open_in(region) for offer in open_now) else "region"


def _barred(terms: Terms, viewer: Viewer, device: Device, moment: datetime, others: int) -> str | None:
    if viewer.account_id is None:
        return "unauthenticated"
    if not terms.playable:
        return "not_playable"
    if right(terms, viewer, device, moment) is None:
        kinds = {offer.kind for offer in _open_offers(terms, viewer, moment)}
        return "plan" if "subscription" in kinds else "rental"
    return "streams" if others >= viewer.entitlements.streams(moment) else None


def right(terms: Terms, viewer: Viewer, device: Device, moment: datetime) -> Right | None:
    """By what the viewer plays the title: for nothing, by an own one, by the best plan; last by starting a rental."""
    held = viewer.entitlements.title(terms.titles, moment)
    is_fresh_rental = held is not None and held.kind == "rent" and not held.is_started
    offers = _open_offers(terms, viewer, moment)
    if terms.bare or any(offer.kind == "free" for offer in offers):
        return Right()
    if held is not None and not is_fresh_rental:
        return Right(held=held)
    plans = [
        plan
        for plan in viewer.entitlements.plans_at(moment)
        if (not plan.devices or device.kind is None or device.kind in plan.devices)
        and any(o.kind == "subscription" and (not o.plans or plan.opens & set(o.plans)) for o in offers)
    ]
    if plans:
        heights = [plan.max_height for plan in plans]
        return Right(None if None in heights else max(h for h in heights if h is not None))
    return Right(held=held) if held is not None else None


def _open_offers(terms: Terms, viewer: Viewer, moment: datetime) -> list[OfferTerms]:
    return [offer for offer in terms.offers if offer.window.holds(moment) and offer.open_in(viewer.region)]


def terms_of(found: Mapping[str, Any]) -> Terms:
    """Terms from a row: `served_title`'s columns, and `offer_terms`, what the SQL function of that name says."""
    return Terms(
        published=found["state"] == "published",
        bare=found["bare"],
        playable=found["playable"],
        maturity=found["maturity"],
        offers=tuple(
            OfferTerms(offer["kind"], tuple(offer["plans"]), tuple(offer["regions"]), window(offer))
            for offer in found["offer_terms"] or ()
        ),
        titles=tuple(t for t in dict.fromkeys((found["title_id"], found["parent_id"], found["root_id"])) if t),
    )
