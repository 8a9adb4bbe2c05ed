"""Pages of one app: composed when asked, kept as bytes until something that they are made of changed.

That is the state of the viewer in Redis (a version that each event raises), positions in PostgreSQL, the system that
serves, and what viewers like this one may see at this moment.
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
from serving.metrics import Metrics
from serving.playback.core import FINISHED
from serving.profiles.core import Viewer
from serving.profiles.memo import Viewers
from serving.recommendations.catalogue import Catalogues, Shelf
from serving.recommendations.exposures import Exposures
from serving.recommendations.gather import Gather
from serving.recommendations.live import GoneError, Live
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
        viewers: Viewers,
        catalogues: Catalogues,
        systems: Systems,
        live: Live,
        exposures: Exposures,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._transaction, self._catalogues, self._systems, self._live = transaction, catalogues, systems, live
        self._exposures, self._metrics, self._clock = exposures, metrics, clock
        self._viewers = viewers
        self._positions: Gather[list[Row]] = Gather(self._read_positions)
        self._recent: Memo[str, Sequence[Row]] = Memo(clock, POSITIONS_S)
        self._pages, self._done = Pages(), Done()
        self._composing = asyncio.Lock()
        self._variants: dict[str, dict[Experiment, str]] = {}

    async def page(
        self,
        surface: str,
        account_id: str,
        session_id: str,
        profile_id: str | None,
        request_id: str,
        bot: Callable[[], str | None] = lambda: None,
    ) -> bytes:
        """The JSON of a surface for a profile (None: the account's first).

        Raises:
            Problem: 404, the account has no such profile; 403 `pin_required`, it is not open to the sign-in.
        """
        viewer = await self._viewers.of(account_id, session_id, profile_id)
        variants = self._assigned(account_id)
        version = await self._version(viewer)
        await self._systems.found()
        kept = await self._kept(surface, viewer, variants, version)
        if surface == "home":
            # Who would see the same in either variant says nothing of the order, and would only dilute what others say.
            shown = {e: variant for e, variant in variants.items() if e is not HOME_ORDER or kept.differs}
            self._exposures.tell(account_id, session_id, shown, bot)
        return b'{"request_id":"%b",%b' % (request_id.encode(), kept.body)

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

    async def _kept(self, surface: str, viewer: Viewer, variants: dict[Experiment, str], version: bytes | None) -> Kept:
        """The page as it would be made now, made if it has to be."""
        profile, now = str(viewer.profile_id), self._clock.now()
        shelf = await self._catalogues.shelf(viewer, now)
        kept = self._pages.get((surface, profile))
        positions = self._recent.get(profile)
        if positions is None:
            positions = await self._renewed(profile, kept)
        if kept is not None and kept.is_of(self._made_of(version, shelf, now, positions, viewer)):
            return kept
        known, version = await self._known(viewer, version)
        # One after the other with a turn of the loop between: many at once would let reads of Redis time out.
        async with self._composing:
            # Waiting may have taken long: what may be shown is what may be shown now, and another may have made it.
            now = self._clock.now()
            shelf = await self._catalogues.shelf(viewer, now)
            kept, renewed = self._pages.get((surface, profile)), self._recent.get(profile)
            positions = positions if renewed is None else renewed
            made_of = self._made_of(version, shelf, now, positions, viewer)
            if kept is None or not kept.is_of(made_of):
                arms = {experiment.name: variant for experiment, variant in variants.items()}
                around = _Around(surface, shelf, made_of[2], variants[HOME_ORDER], arms, positions, now)
                page = self._composed(self._visit(viewer, known, around), around)
                kept = self._pages.put((surface, profile), Kept(made_of, page.body, page.differs))
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
