"""One command for many: what one of those who wait does is nothing to the others."""

import asyncio

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


async def one(gather, key):
    return await gather.get(key)
