import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.errors import StackError
from matinee.stack.plan import Backoff, select
from matinee.stack.service import Service


def service(name: str, *after: str) -> Service:
    return Service(name, ("true",), ready=lambda: True, after=after)


STACK = [
    service("api", "postgres", "redis"),
    service("web", "code"),
    service("code", "postgres"),
    service("postgres"),
    service("redis"),
]


def names(services: list[Service]) -> list[str]:
    return [s.name for s in services]


@given(st.randoms(use_true_random=False))
def test_each_service_follows_what_it_needs(shuffle: random.Random) -> None:
    shuffled = shuffle.sample(STACK, len(STACK))
    order = names(select(shuffled))
    assert sorted(order) == sorted(names(STACK))
    for one in STACK:
        assert all(order.index(need) < order.index(one.name) for need in one.after)


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        (["redis"], {"redis"}),
        (["api"], {"api", "postgres", "redis"}),
        (["web"], {"web", "code", "postgres"}),
        (["web", "redis"], {"web", "code", "postgres", "redis"}),
    ],
)
def test_only_brings_what_it_needs_and_nothing_else(only: list[str], wanted: set[str]) -> None:
    assert set(names(select(STACK, only))) == wanted


def test_backing_services_elsewhere_are_not_waited_for() -> None:
    assert names(select([service("api", "postgres", "redis")])) == ["api"]


@pytest.mark.parametrize(
    ("services", "only", "says"),
    [
        (STACK, ["apj"], "no service is called 'apj': choose from api"),
        ([service("api", "psotgres")], [], "api waits for 'psotgres', which is no service"),
        ([service("a", "b"), service("b", "a")], [], "wait for each other: "),
        ([service("a"), service("a")], [], "two services have one name: a"),
    ],
)
def test_a_wrong_plan_is_refused_by_name(services: list[Service], only: list[str], says: str) -> None:
    with pytest.raises(StackError, match=says):
        select(services, only)


@given(st.integers(1, 30), st.floats(0.01, 5), st.floats(1, 4), st.floats(5, 60))
def test_pauses_grow_up_to_the_longest_and_then_it_is_given_up(
    limit: int, first: float, factor: float, top: float
) -> None:
    pauses = [Backoff(first, factor, top, limit).delay(crashes) for crashes in range(1, limit + 2)]
    assert pauses[limit - 1 :] == [None, None]
    tried = [pause for pause in pauses if pause is not None]
    assert tried == sorted(tried)
    assert all(first <= pause <= top for pause in tried)
