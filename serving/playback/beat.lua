-- Heartbeats of many sessions at once.
-- ARGV: now, until, expires, renew after (ms), then five a heartbeat: id, account, browser, position (ms), its time (ms).
-- Answers for each: {'ok', title, package, profile, issued, height, issued before, duration} or {'cold'}, {'unknown'}, {'foreign'}, {'over', why},
-- {'full'}.
local now, till, expires, renew = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])
local epoch = redis.call('GET', 'pb:epoch')
local answers = {}
for at = 5, #ARGV, 5 do
  local id, account, browser, position, moment = unpack(ARGV, at, at + 4)
  local key, slots = 'pb:s:' .. id, 'pb:n:' .. account
  local s = redis.call('HMGET', key, 'a', 'x', 'b', 'e', 't', 'k', 'p', 'i', 'j', 'm', 'h', 'w', 'd', 'o')
  local answer
  if not epoch or s[14] ~= epoch then answer = {'cold'}
  elseif s[1] ~= account then answer = {'unknown'}
  elseif s[2] ~= '' then answer = {'over', s[2]}
  elseif tonumber(s[4]) <= now then answer = {'unknown'}
  elseif s[3] ~= browser then answer = {'foreign'}
  else
    local slot = redis.call('ZSCORE', slots, id)
    if not slot or tonumber(slot) <= now then
      redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
      if redis.call('ZCARD', slots) >= tonumber(s[10]) then answer = {'full'} end
    end
    if not answer then
      redis.call('ZADD', slots, till, id)
      local issued, changes = s[8], {'e', expires}
      if now - tonumber(issued) >= renew then
        changes[3], changes[4], changes[5], changes[6] = 'j', issued, 'i', ARGV[1]
        issued = ARGV[1]
      end
      if tonumber(moment) >= tonumber(s[12]) then
        if tonumber(position) > tonumber(s[13]) then position = s[13] end
        local last = #changes
        changes[last + 1], changes[last + 2], changes[last + 3], changes[last + 4] = 'q', position, 'w', moment
      end
      redis.call('HSET', key, unpack(changes))
      redis.call('ZADD', 'pb:dirty', now, id)
      answer = {'ok', s[5], s[6], s[7], issued, s[11], issued == s[8] and s[9] or s[8], s[13]}
    end
  end
  answers[#answers + 1] = answer
end
return answers
