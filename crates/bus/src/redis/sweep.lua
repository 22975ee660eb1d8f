-- Forgets consumers of a group that hold nothing and have not asked for long: every restart under a new name leaves
-- one. A script, because a consumer that got entries between the look and the deletion would lose them.
-- KEYS: the stream. ARGV: group, milliseconds. Returns how many went.
local removed = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #flat, 2 do consumer[flat[i]] = flat[i + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed = removed + 1
  end
end
return removed
