"""What to start and when, as pure functions over the list of services."""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from matinee.errors import StackError
from matinee.stack.service import Service

# These may live elsewhere (`MATINEE_DATABASE_URL`, `MATINEE_REDIS_URL`): whoever waits for them then goes ahead.
BACKING = frozenset({"postgres", "redis"})


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a crashed service is started again, in seconds.

    Crashes count as a loop while the service dies within `window` of becoming ready; after `limit` of them it is
    given up.
    """

    first: float = 0.5
    factor: float = 2.0
    longest: float = 30.0
    limit: int = 5
    window: float = 60.0

    def delay(self, crashes: int) -> float | None:
        """The pause after the given number of crashes in a row (from 1), or None: give it up."""
        if crashes >= self.limit:
            return None
        return min(self.first * self.factor ** (crashes - 1), self.longest)


def select(services: Sequence[Service], only: Sequence[str] = ()) -> list[Service]:
    """The named services and what they need, in an order in which each comes after what it needs.

    Raises:
        StackError: a name is unknown or stands twice, or services wait for each other in a circle.
    """
    known = {service.name: service for service in services}
    if len(known) < len(services):
        names = [service.name for service in services]
        raise StackError(f"two services have one name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    for name in only:
        if name not in known:
            raise StackError(f"no service is called {name!r}: choose from {', '.join(known)}")
    needs = {service.name: _needs(service, known) for service in services}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise StackError(f"services wait for each other: {' -> '.join(error.args[1])}") from None
    wanted = set(only or known)
    for name in reversed(order):  # whoever needs a service stands behind it
        if name in wanted:
            wanted |= set(needs[name])
    return [known[name] for name in order if name in wanted]


def _needs(service: Service, known: dict[str, Service]) -> tuple[str, ...]:
    if missing := [name for name in service.after if name not in known and name not in BACKING]:
        raise StackError(f"{service.name} waits for {missing[0]!r}, which is no service")
    return tuple(name for name in service.after if name in known)
