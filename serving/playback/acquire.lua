-- Take slots of accounts for new streams, each all or nothing, in their order.
-- ARGV: how many values a stream has, then of each: account, id, now, until (ms), streams, id to take over from or '',
-- browser, title, then the session's fields.
-- Answers for each {'cold'}: the account's slots must be read from PostgreSQL first; {'full', ids…}; {'ok', ids that were
-- ended…}.
local epoch = redis.call('GET', 'pb:epoch')

local function take(first, last)
  local account, id, now, till, streams, from, browser, title = unpack(ARGV, first, first + 7)
  if not epoch or redis.call('GET', 'pb:r:' .. account) ~= epoch then return {'cold'} end
  local slots = 'pb:n:' .. account
  local held, scored = {}, redis.call('ZRANGE', slots, 0, -1, 'WITHSCORES')
  for at = 1, #scored, 2 do
    if tonumber(scored[at + 1]) > tonumber(now) then held[#held + 1] = scored[at] end
  end
  if #held * 2 < #scored then redis.call('ZREMRANGEBYSCORE', slots, '-inf', now) end
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
  redis.call('ZADD', slots, till, id)
  for _, other in ipairs(ended) do
    redis.call('ZREM', slots, other)
    if redis.call('EXISTS', 'pb:s:' .. other) == 1 then redis.call('HSET', 'pb:s:' .. other, 'x', 'taken_over') end
  end
  -- To write it costs five times as much as to look: it is a day, or an hour less.
  if redis.call('TTL', slots) < 82800 then redis.call('EXPIRE', slots, 86400) end
  redis.call('HSET', 'pb:s:' .. id, 'o', epoch, unpack(ARGV, first + 8, last))
  redis.call('EXPIRE', 'pb:s:' .. id, 86400)
  redis.call('SET', 'pb:k:' .. browser .. ':' .. title, id, 'EX', 86400)
  return {'ok', unpack(ended)}
end

local answers, width = {}, tonumber(ARGV[1])
for first = 2, #ARGV, width do answers[#answers + 1] = take(first, first + width - 1) end
return answers
