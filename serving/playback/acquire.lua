-- Take a slot of an account for a new stream, all or nothing.
-- ARGV: account, id, now, until (ms), streams, id to take over from or '', browser, title, then the session's fields.
-- Answers {'cold'}: the account's slots must be read from PostgreSQL first; {'full', ids…}; {'ok', ids that were ended…}.
local account, id, now, till, streams, from, browser, title = unpack(ARGV, 1, 8)
local epoch = redis.call('GET', 'pb:epoch')
if not epoch or redis.call('GET', 'pb:r:' .. account) ~= epoch then return {'cold'} end
local slots = 'pb:n:' .. account
redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
local held = redis.call('ZRANGE', slots, 0, -1)
local ended, left = {}, #held
for _, other in ipairs(held) do
  if other == from then ended[#ended + 1] = other; left = left - 1 end
end
-- A browser is not refused because of itself: its own streams go, the most silent first.
for _, other in ipairs(held) do
  if left >= tonumber(streams) and other ~= from and redis.call('HGET', 'pb:s:' .. other, 'b') == browser then
    ended[#ended + 1] = other
    left = left - 1
  end
end
if left >= tonumber(streams) then return {'full', unpack(held)} end
for _, other in ipairs(ended) do
  redis.call('ZREM', slots, other)
  if redis.call('EXISTS', 'pb:s:' .. other) == 1 then redis.call('HSET', 'pb:s:' .. other, 'x', 'taken_over') end
end
redis.call('ZADD', slots, till, id)
redis.call('EXPIRE', slots, 86400)
redis.call('HSET', 'pb:s:' .. id, 'o', epoch, unpack(ARGV, 9))
redis.call('EXPIRE', 'pb:s:' .. id, 86400)
redis.call('SET', 'pb:k:' .. browser .. ':' .. title, id, 'EX', 86400)
return {'ok', unpack(ended)}
