-- The living streams of browsers that ask for keys. ARGV: now, until (ms), then browser and title, two a question.
-- Answers for each: {'ok', id, account}, {'none'}, or {'cold'}: ask PostgreSQL.
local now, till = tonumber(ARGV[1]), ARGV[2]
local epoch = redis.call('GET', 'pb:epoch')
local answers = {}
for at = 3, #ARGV, 2 do
  local id = redis.call('GET', 'pb:k:' .. ARGV[at] .. ':' .. ARGV[at + 1])
  local answer = {'cold'}
  if id and epoch then
    local s = redis.call('HMGET', 'pb:s:' .. id, 'a', 'x', 'e', 'm', 'o')
    if s[5] == epoch then
      if s[2] ~= '' or tonumber(s[3]) <= now then
        answer = {'cold'} -- this one is over; another tab of the browser may still play the title
      else
        local slots = 'pb:n:' .. s[1]
        local slot = redis.call('ZSCORE', slots, id)
        answer = {'ok', id, s[1]}
        if not slot or tonumber(slot) <= now then
          redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
          if redis.call('ZCARD', slots) >= tonumber(s[4]) then answer = {'none'}
          else redis.call('ZADD', slots, till, id) end
        end
      end
    end
  end
  answers[#answers + 1] = answer
end
return answers
