"""The life of a subscription: one table says which event leads from which state to which.

A trial that was paid for stays `trialing` until it is over. `-` stands for what cannot happen: whoever asks for it is
told what can. What comes too late, such as money for an expired subscription, is no event of it.
"""

from enum import StrEnum

from serving.billing.errors import BillingError


class State(StrEnum):
    INCOMPLETE = "incomplete"  # ordered, not paid yet: opens nothing
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"  # a renewal was refused and is tried again; access goes on
    PAUSED = "paused"
    EXPIRED = "expired"  # for good: who comes back begins a new one


class Event(StrEnum):
    # of people
    CANCELLED = "cancelled"  # what is paid for, or tried, lasts to its end; what is not ends at once
    KEPT = "kept"  # a cancellation, pause or later change was taken back
    CHANGED = "changed"  # of plan or interval: now, or to come with the next period
    PAUSE_ASKED = "pause_asked"
    WITHDRAWN = "withdrawn"  # what the period was paid with went back
    # of payments
    PAID = "paid"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"  # refused for the last time
    # of the clock
    TRIAL_OVER = "trial_over"  # and what follows is paid
    RENEWING = "renewing"  # the period is over and the next one is billed
    RESUMING = "resuming"  # a pause is over (or was ended) and a period is billed
    PAUSED = "paused"
    ENDED = "ended"  # the period is over and nothing follows
    ABANDONED = "abandoned"  # nobody paid the order


# A life begins `ordered`, which is incomplete, or `tried`, which is trialing.
TABLE = """
              incomplete  trialing  active    past_due  paused
cancelled     expired     trialing  active    expired   expired
kept          -           trialing  active    -         -
changed       -           trialing  active    -         paused
pause_asked   -           -         active    -         -
withdrawn     -           trialing  expired   expired   -
paid          active      trialing  active    active    active
refused       incomplete  trialing  past_due  past_due  paused
exhausted     -           -         -         expired   expired
trial_over    -           active    -         -         -
renewing      -           -         active    past_due  -
resuming      -           -         -         -         paused
paused        -           -         paused    -         -
ended         -           expired   expired   -         -
abandoned     expired     -         -         -         -
"""


class MoveError(BillingError):
    """The subscription's state knows no such event."""


def _read(table: str) -> dict[tuple[State, Event], State]:
    head, *lines = (line.split() for line in table.strip().splitlines())
    return {
        (State(state), Event(event)): State(became)
        for event, *cells in lines
        for state, became in zip(head, cells, strict=True)
        if became != "-"
    }


MOVES = _read(TABLE)


def possible(state: State) -> list[Event]:
    """What can happen in a state."""
    return [event for before, event in MOVES if before is state]


def move(state: State, event: Event) -> State:
    """The state after the event.

    Raises:
        MoveError: the table has no such move.
    """
    became = MOVES.get((state, event))
    if became is None:
        can = ", ".join(possible(state)) or "nothing: begin a new one"
        raise MoveError(f"a subscription that is {state} cannot be {event}; what it can be: {can}")
    return became
