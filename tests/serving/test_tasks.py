import asyncio
import contextlib

from serving import tasks


async def test_a_task_that_takes_a_cancellation_for_its_own_timeout_is_ended_all_the_same() -> None:
    swallowed = 0

    async def follow() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    async def fail() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        raise ValueError("at the end")

    following, failing = asyncio.ensure_future(follow()), asyncio.ensure_future(fail())
    await asyncio.sleep(0)
    await tasks.end([following, None, failing])
    assert following.cancelled()
    assert failing.done()
    assert swallowed == 3
