-- Forget that sessions wait to be written, but for those that were heard of again. ARGV: id and the time it was read with.
for at = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', 'pb:dirty', ARGV[at])
  if score and tonumber(score) <= tonumber(ARGV[at + 1]) then redis.call('ZREM', 'pb:dirty', ARGV[at]) end
end
return 1
