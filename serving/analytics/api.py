"""HTTP of analytics: /api/analytics, for moderators and admins."""

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query

from matinee.lake import NoSnapshotError
from serving.analytics import core
from serving.analytics.types import TopTitle, TopTitles
from serving.auth import Staff
from serving.context import Ctx
from serving.problems import Problem

router = APIRouter(prefix="/api/analytics", tags=["analytics"])


@router.get("/titles")
async def titles(context: Ctx, _: Staff, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> TopTitles:
    """The most watched titles of the newest week in the current snapshot."""
    try:
        found = await anyio.to_thread.run_sync(core.top_titles, context.settings.home_path, limit)
    except NoSnapshotError:
        raise Problem(503, "no_snapshot", "nothing is published yet: run `matinee build`") from None
    week = found[0]["week_start"] if found else None
    return TopTitles(week_start=week, titles=[TopTitle(**title) for title in found])
