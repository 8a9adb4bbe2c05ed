"""One command for many: what one of those who wait does is nothing to the others."""

import asyncio

import pytest

from serving.gather import Gather


async def test_of_equal_keys_one_may_leave():
    async def read(keys):
        await asyncio.sleep(0.01)
        return keys

    gather = Gather(read)
    leaves, stays, last = (asyncio.create_task(one(gather, "a")) for _ in range(3))
    await asyncio.sleep(0)
    leaves.cancel()
    assert await stays == await last == "a"
    assert leaves.cancelled()


async def test_all_who_wait_hear_of_a_failure():
    async def read(keys):
        raise OSError("away")

    gather = Gather(read)
    heard = await asyncio.gather(*(one(gather, key) for key in "aab"), return_exceptions=True)
    assert [type(error) for error in heard] == [OSError] * 3


@pytest.mark.parametrize("wrong", [asyncio.CancelledError, ValueError])
async def test_nobody_waits_for_an_answer_that_does_not_come(wrong):
    async def read(keys):
        if wrong is asyncio.CancelledError:
            raise wrong
        return keys[1:]

    gather = Gather(read)
    async with asyncio.timeout(5):
        for key in "ab":
            with pytest.raises(wrong):
                await gather.get(key)


async def one(gather, key):
    return await gather.get(key)
