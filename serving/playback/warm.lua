-- Make an account's slots what PostgreSQL says, unless somebody did so before; then only sessions that this epoch does not
-- know are told, and take their slots with their next heartbeat, if there is room.
-- ARGV: account, now (ms), an epoch to begin where there is none, then for each session that lives: id, slot's end (ms),
-- number of its fields, the fields as name and value.
local account, now = ARGV[1], tonumber(ARGV[2])
redis.call('SET', 'pb:epoch', ARGV[3], 'NX')
local epoch = redis.call('GET', 'pb:epoch')
local fresh = redis.call('GET', 'pb:r:' .. account) ~= epoch
local slots, kept = 'pb:n:' .. account, {}
if fresh then
  for _, id in ipairs(redis.call('ZRANGE', slots, 0, -1)) do kept[id] = tonumber(redis.call('ZSCORE', slots, id)) end
  redis.call('DEL', slots)
end
local at = 4
while at <= #ARGV do
  local id, till, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local key, fields = 'pb:s:' .. id, {unpack(ARGV, at + 3, at + 2 + count)}
  at = at + 3 + count
  if fresh or redis.call('HGET', key, 'o') ~= epoch then
    local known = redis.call('HMGET', key, 'e', 'i', 'j', 'q', 'w', 'x')
    redis.call('HSET', key, 'o', epoch, unpack(fields))
    redis.call('EXPIRE', key, 86400)
    -- What Redis heard later than PostgreSQL holds.
    local given = redis.call('HMGET', key, 'e', 'i', 'w', 'b', 't')
    if known[1] and tonumber(known[1]) > tonumber(given[1]) then redis.call('HSET', key, 'e', known[1]) end
    if known[2] and tonumber(known[2]) > tonumber(given[2]) then redis.call('HSET', key, 'i', known[2], 'j', known[3]) end
    if known[5] and tonumber(known[5]) > tonumber(given[3]) then redis.call('HSET', key, 'q', known[4], 'w', known[5]) end
    if known[6] and known[6] ~= '' then
      redis.call('HSET', key, 'x', known[6])
    else
      redis.call('SET', 'pb:k:' .. given[4] .. ':' .. given[5], id, 'EX', 86400)
      till = math.max(till, kept[id] or 0)
      if fresh and till > now then redis.call('ZADD', slots, till, id) end
    end
  end
end
redis.call('EXPIRE', slots, 86400)
redis.call('SET', 'pb:r:' .. account, epoch, 'EX', 86400)
return 1
