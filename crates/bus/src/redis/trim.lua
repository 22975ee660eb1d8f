-- Trims a re-readable stream by age and by count, and marks the groups that lose entries they have not handled.
-- KEYS: the stream, the hash of marks. ARGV: oldest milliseconds to keep, entries to keep or `none`, milliseconds
-- within which a consumer counts as live. Returns how many entries went, and how many are left.
local key, marks = KEYS[1], KEYS[2]
local keep, live_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('EXISTS', key) == 0 then return {0, 0} end

local function fields(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end
local function split(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(a, b)
  local a_ms, a_seq = split(a)
  local b_ms, b_seq = split(b)
  return a_ms < b_ms or (a_ms == b_ms and a_seq < b_seq)
end
local function after(id)
  local ms, seq = split(id)
  return string.format('%.0f-%.0f', ms, seq + 1)
end

-- The first entry that each group has not handled, and the first that a live one has not.
local groups, spare = {}, nil
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local group = fields(flat)
  local first = after(group['last-delivered-id'])
  if group.pending > 0 then first = redis.call('XPENDING', key, group.name)[2] end
  groups[group.name] = first
  for _, flat_consumer in ipairs(redis.call('XINFO', 'CONSUMERS', key, group.name)) do
    if fields(flat_consumer).idle < live_ms and (not spare or before(first, spare)) then spare = first end
  end
end

local removed = 0
local function trim(cut)
  for name, first in pairs(groups) do
    if before(first, cut) and #redis.call('XRANGE', key, first, '(' .. cut, 'COUNT', 1) > 0 then
      redis.call('HSET', marks, name, 1)
    end
  end
  removed = removed + redis.call('XTRIM', key, 'MINID', '=', cut)
end

trim(ARGV[1] .. '-0')
local excess = keep and redis.call('XLEN', key) - keep or 0
if excess > 0 then
  -- A bounded look: the next call goes on from here.
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', math.min(excess, 1000))
  local cut = after(oldest[#oldest][1])
  if spare and before(spare, cut) then cut = spare end
  trim(cut)
end
return {removed, redis.call('XLEN', key)}
