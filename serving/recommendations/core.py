"""Pages of one app: kept as bytes until something that they are made of changed, then composed.

That is the state of the viewer in Redis (a version that each event raises), positions in PostgreSQL, the system that
serves, and what viewers like this one may see at this moment. Where only the first of these changed, the page of before
may be shown for a moment (`making`), unless it shows something that the viewer has finished since.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from features.online import Known
from matinee.clock import Clock
from matinee.db.queries import load
from models.experiments.assignment import Experiment, assign
from models.experiments.registry import ACTIVE, HOME_ORDER
from serving.accounts.memo import Memo, Transaction
from serving.db import Row, rows
from serving.gather import Gather
from serving.metrics import Metrics
from serving.playback.core import FINISHED
from serving.profiles.core import Viewer
from serving.recommendations.catalogue import Catalogues, Shelf
from serving.recommendations.exposures import Exposures
from serving.recommendations.live import GoneError, Live
from serving.recommendations.making import Asker, Makings
from serving.recommendations.page import Page, Visit, home_page, onboarding_page
from serving.recommendations.pages import Done, Kept, MadeOf, Pages
from serving.recommendations.progress import progress
from serving.recommendations.systems import Systems

if TYPE_CHECKING:
    from serving.recommendations.served import Served

QUERIES = load(Path(__file__).parent)
SURFACES = {"home": home_page, "onboarding": onboarding_page}
# Positions that another process has written are noticed so late; what was finished comes through Redis sooner.
POSITIONS_S = 30.0
KIDS = 12  # profiles with this maturity limit or a lower one are children's
_NOBODY = Known((), (), frozenset(), {})
_GONE = b"gone"  # in place of a version
_TRIES = 3  # to hear of a page that is of this very moment, while what it is made of changes


@dataclass(frozen=True, slots=True)
class _Around:
    """What a page is made of beside the viewer's own state."""

    surface: str
    shelf: Shelf
    served: "Served | None"
    arm: str
    arms: dict[str, str]
    positions: Sequence[Row]
    now: datetime


class Homes:
    """Home pages of one app."""

    def __init__(
        self,
        transaction: Transaction,
        catalogues: Catalogues,
        systems: Systems,
        live: Live,
        exposures: Exposures,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._transaction, self._catalogues, self._systems, self._live = transaction, catalogues, systems, live
        self._exposures, self._metrics, self._clock = exposures, metrics, clock
        self._positions: Gather[str, list[Row]] = Gather(self._read_positions)
        self._recent: Memo[str, Sequence[Row]] = Memo(clock, POSITIONS_S)
        self._pages, self._done = Pages(), Done()
        self._finished: Memo[str, tuple[bytes | None, frozenset[str]]] = Memo(clock)
        self._composing = asyncio.Lock()
        self._makings = Makings(self._make)
        live.tracking.on_change = self._makings.changed
        self._variants: dict[str, dict[Experiment, str]] = {}

    async def page(
        self,
        surface: str,
        viewer: Viewer,
        session_id: str,
        request_id: str,
        bot: Callable[[], str | None] = lambda: None,
    ) -> bytes:
        """The JSON of a surface for a viewer who has signed in."""
        account_id = str(viewer.account_id)
        variants = self._assigned(account_id)
        await self._systems.found()
        asker = Asker(surface, viewer, variants)
        kept = await self._kept(asker)
        if surface == "home":
            self._makings.here(asker)
            # Who would see the same in either variant says nothing of the order, and would only dilute what others say.
            shown = {e: variant for e, variant in variants.items() if e is not HOME_ORDER or kept.differs}
            self._exposures.tell(account_id, session_id, shown, bot)
        return b'{"request_id":"%b",%b' % (request_id.encode(), kept.body)

    async def close(self) -> None:
        """Stop making pages."""
        await self._makings.close()

    def forget(self, profile_id: str) -> None:
        """A position of the profile changed: look at them again."""
        self._recent.forget(profile_id)

    async def shelf(self, viewer: Viewer) -> Shelf:
        """What this viewer may be shown now."""
        return await self._catalogues.shelf(viewer, self._clock.now())

    @property
    def served(self) -> "Served | None":
        return self._systems.current

    async def _version(self, viewer: Viewer) -> bytes | None:
        try:
            # Whoever has no key yet is asked for as well: the page says whether Redis answers.
            return await self._live.version(viewer.profile_key or "")
        except GoneError:
            return _GONE

    async def _kept(self, asker: Asker, tries: int = _TRIES) -> Kept:
        """The page as it would be made now, or for a moment as it was; made if it has to be."""
        kept, made_of = await self._now(asker)
        if kept is not None and kept.is_of(made_of):
            return kept
        may_wait = kept is not None and self._makings.may_be_waited_for(asker)
        if kept is not None and may_wait and await self._may_stay(kept, made_of, asker.viewer):
            self._metrics.pages_stayed.inc()
            return kept
        making, is_new = self._makings.of(asker)
        made = await asyncio.shield(making)
        if is_new:
            return made
        # What was joined may be of an older moment, or of what the viewer might see before.
        return await self._make(asker) if tries == 1 else await self._kept(asker, tries - 1)

    async def _now(self, asker: Asker) -> tuple[Kept | None, MadeOf]:
        """The page that is kept, and what it would be made of now."""
        viewer, now, profile = asker.viewer, self._clock.now(), str(asker.viewer.profile_id)
        version = await self._version(viewer)
        shelf = await self._catalogues.shelf(viewer, now)
        kept, positions = self._pages.get(asker.key), self._recent.get(profile)
        if positions is None:
            positions = await self._renewed(profile, kept)
        return kept, self._made_of(version, shelf, now, positions, viewer)

    async def _may_stay(self, kept: Kept, made_of: MadeOf, viewer: Viewer) -> bool:
        """Whether a page may be shown although it is not the newest: all that may be shown is as before, and nothing
        on it was finished since."""
        version = made_of[0]
        if _GONE in (version, kept.made_of[0]) or not viewer.profile_key or not self._live.tracking.works:
            return False
        if not kept.is_but_for_version(made_of):
            return False
        known = self._finished.get(viewer.profile_key)
        if known is None or known[0] != version:
            try:
                known = version, await self._live.done(viewer.profile_key)
            except GoneError:
                return False
            self._finished.put(viewer.profile_key, known)
        return known[1].isdisjoint(kept.discovered)

    async def _make(self, asker: Asker) -> Kept:
        """Make the page as of now, and keep it."""
        viewer, profile = asker.viewer, str(asker.viewer.profile_id)
        _, made_of = await self._now(asker)
        known, version = await self._known(viewer, made_of[0])
        # One after the other with a turn of the loop between: many at once would let reads of Redis time out.
        async with self._composing:
            # Waiting may have taken long: what may be shown is what may be shown now, and another may have made it.
            now = self._clock.now()
            shelf = await self._catalogues.shelf(viewer, now)
            kept, renewed = self._pages.get(asker.key), self._recent.get(profile)
            made_of = self._made_of(version, shelf, now, made_of[4] if renewed is None else renewed, viewer)
            if kept is None or not kept.is_of(made_of):
                arms = {experiment.name: variant for experiment, variant in asker.variants.items()}
                around = _Around(asker.surface, shelf, made_of[2], asker.variants[HOME_ORDER], arms, made_of[4], now)
                page = self._composed(self._visit(viewer, known, around), around)
                kept = self._pages.put(asker.key, Kept(made_of, page.body, page.differs, page.discovered))
                await asyncio.sleep(0)
        return kept

    def _made_of(
        self, version: bytes | None, shelf: Shelf, now: datetime, positions: Sequence[Row], viewer: Viewer
    ) -> MadeOf:
        return version, shelf, self._systems.current, now.toordinal(), positions, viewer.region

    async def _known(self, viewer: Viewer, version: bytes | None) -> tuple[Known | None, bytes | None]:
        """What Redis knows, and the version that the page is of: Redis may go between two reads."""
        if version is _GONE:
            return None, _GONE
        try:
            known = await self._live.known(viewer.profile_key) if viewer.profile_key else _NOBODY
        except GoneError:
            return None, _GONE
        self._done.put(str(viewer.profile_id), known.done)
        return known, version

    def _visit(self, viewer: Viewer, known: Known | None, around: _Around) -> Visit:
        is_treated = around.arm == "treatment"
        profile = str(viewer.profile_id)
        return Visit(
            profile_id=profile,
            region=viewer.region,
            kids=viewer.maturity <= KIDS,
            now=around.now,
            known=known,
            done=known.done if known else self._done.get(profile),
            progress=progress(around.positions, around.shelf),
            arms=around.arms,
            share=sum(s for arm, s in HOME_ORDER.shares.items() if (arm == "treatment") == is_treated),
            for_you_first=is_treated,
        )

    def _composed(self, visit: Visit, around: _Around) -> Page:
        with self._metrics.composing.time():
            page = SURFACES[around.surface](visit, around.shelf, around.served)
        if page.degraded:
            self._metrics.degraded.inc()
        return page

    def _assigned(self, account_id: str) -> dict[Experiment, str]:
        known = self._variants.get(account_id)
        if known is None:
            if len(self._variants) > 100_000:
                self._variants.clear()
            known = self._variants[account_id] = {e: assign(e, account_id) for e in ACTIVE}
        return known

    async def _renewed(self, profile_id: str, kept: Kept | None) -> Sequence[Row]:
        """Positions as they are now; the same object where nothing changed."""
        positions: Sequence[Row] = await self._positions.get(profile_id)
        for known in (kept.positions if kept else None, self._recent.get(profile_id)):
            if known is not None and known == positions:
                positions = known
        return self._recent.put(profile_id, positions)

    async def _read_positions(self, profile_ids: Sequence[str]) -> list[list[Row]]:
        async with self._transaction() as connection:
            found = await rows(connection, QUERIES["positions"], {"profile_ids": list(profile_ids), "share": FINISHED})
        by_profile: dict[str, list[Row]] = {profile_id: [] for profile_id in profile_ids}
        for position in found:
            by_profile[position["profile_id"]].append(position)
        return list(by_profile.values())
