-- Sets the idle time of entries that a consumer still holds; what another one has claimed is left alone.
-- KEYS: the stream. ARGV: group, consumer, idle milliseconds, entry ids.
for i = 4, #ARGV do
  local held = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  if #held > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[3], 'JUSTID')
  end
end
return 0
