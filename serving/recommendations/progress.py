"""What a profile is in the middle of, and what it has seen to the end: from its positions in PostgreSQL."""

from collections.abc import Sequence

from serving.db import Row
from serving.playback.core import finished
from serving.recommendations.catalogue import Shelf
from serving.recommendations.page import Progress
from serving.recommendations.rows import Pick


def progress(positions: Sequence[Row], shelf: Shelf) -> Progress:
    """Positions come with the last touched first. What the shelf does not offer any more is not gone on with."""
    latest: dict[str, Row] = {}
    for position in positions:
        title = shelf.seen.get(position["title_id"])
        latest.setdefault(title.root_id if title else position["title_id"], position)
    resume, watched = [], set()
    for root_id, position in latest.items():
        episodes = shelf.episodes.get(root_id, ())
        going_on: str | None = position["title_id"]
        if finished(position):
            going_on = _after(episodes, position["title_id"])
        if going_on is None:
            watched.add(root_id)
        elif _is_offered(going_on, root_id, shelf) and (
            going_on != position["title_id"] or position["position_ms"] > 0
        ):
            resume.append(Pick(root_id, "position", "continue", because=going_on))
    return Progress(tuple(resume), frozenset(watched))


def _is_offered(going_on: str, root_id: str, shelf: Shelf) -> bool:
    return root_id in shelf.places and (going_on == root_id or going_on in shelf.episodes.get(root_id, ()))


def _after(episodes: Sequence[str], episode_id: str) -> str | None:
    """The episode that follows; None after the last one, and for a film."""
    if episode_id not in episodes:
        return None
    following = episodes.index(episode_id) + 1
    return episodes[following] if following < len(episodes) else None
