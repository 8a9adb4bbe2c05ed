"""Who may see and play what: one rule for lists, titles, recommendations and playback.

The SQL function `visible_title` says the same for whole lists; a test holds the two together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from serving.accounts.core import Viewer


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """Where and when an offer is open; no regions: everywhere; `until` is exclusive."""

    regions: tuple[str, ...] = ()
    from_: datetime | None = None
    until: datetime | None = None

    def open_at(self, moment: datetime) -> bool:
        return (self.from_ is None or self.from_ <= moment) and (self.until is None or moment < self.until)

    def open_in(self, region: str | None) -> bool:
        return not self.regions or region in self.regions


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides about a title. `bare`: made from a film file, not from a feed, and free for everybody.

    `offers` are the title's own, or those of the nearest parent that has some.
    """

    published: bool
    bare: bool
    playable: bool
    maturity: int
    offers: Sequence[OfferTerms] = ()


def allowed(terms: Terms, viewer: Viewer, moment: datetime, *, to_play: bool = False) -> str | None:
    """Why the viewer may not see the title (`to_play`: not play it), or None where nothing is in the way.

    Reasons: `unpublished`, `maturity`, `region` (open now, but elsewhere), `no_offer`, and to play also
    `not_playable`. A title without any offer may be seen, for it is part of the catalogue, but not played.
    """
    if not terms.published and not (terms.bare and terms.playable):
        return "unpublished"
    if terms.maturity > viewer.maturity:
        return "maturity"
    if not terms.bare and (terms.offers or to_play):
        open_now = [offer for offer in terms.offers if offer.open_at(moment)]
        if not open_now:
            return "no_offer"
        if not any(offer.open_in(viewer.region) for offer in open_now):
            return "region"
    if to_play and not terms.playable:
        return "not_playable"
    return None
