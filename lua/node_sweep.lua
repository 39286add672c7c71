#!lua flags=allow-oom
--- node_sweep: declare dead whose heartbeat has run out (up | draining | faulty → dead).
-- KEYS: prefix
-- ARGV: now_ms gap_ms limit scheduler features
--   gap_ms: so long without a sweep and without any heartbeat means that Redis, not the nodes, was away; holes of a
--   sixth of that count, too
--   scheduler: the name of who sweeps ('' none); features: those that it knows
-- Replies: {dead, lost, features, schedules}: how many were declared dead, all incarnations whose tasks wait to be given back,
--   what is in use (+ONE+TWO), and 1 if there are schedules
-- Refuses: feature_missing (it doesn't know what is in use)
-- Promises: the scores in `nodes` and Redis' clock alone decide, expired events only make it sooner; after an outage or
--   a jump of the clock every node whose lease ran then gets one more time to live; scores in the future are put right
--@include _gone
--@include _observe
--@include _features
--@include _commit

arguments_given(5)
local now, gap, limit = time_given(ARGV[1]), duration_given(ARGV[2], 'gap_ms'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
local scheduler, known = word_given(ARGV[4], 'scheduler', 128), 'PY.SCHEMA' .. labels_given(ARGV[5])
if wrong() then return wrong() end
local NODES = P .. 'nodes'
local IN_A_ROW = 3 -- holes that count for one lease
local PAUSE = 800  -- ms: schedulers sweep twice a second

local function ttl_of(id)
  return whole_of(field_of(P .. 'node:' .. id, 'ttl')) or TTL
end

local missing = feature_missing(known)
if missing then return missing end
if scheduler ~= '' then scheduler_seen(now, scheduler, known) end
local seen = observe(now)
if seen.back then
  seen.back = false
  for _, id in ipairs(call('ZRANGE', NODES, 0, -1)) do
    call('ZADD', NODES, now + ttl_of(id), id)
  end
end
seen.sweep = now
observed(now, seen)

-- The largest holes that ended later, in their order: three, as outages come in a row, but no more, or where all calls come
-- late the dead would live on for ever. Only one of them is so small that it may be the pause between two sweeps.
local function holes_after(renewed)
  local found, largest = {}, {}
  for _, hole in ipairs(seen.holes) do
    if hole.ends > renewed and hole.size > gap / 6 then found[#found + 1] = hole end
  end
  table.sort(found, function(a, b) return a.size > b.size or (a.size == b.size and a.ends < b.ends) end)
  for i = 1, math.min(IN_A_ROW, #found) do
    largest[i] = found[i]
    if found[i].size <= PAUSE then break end
  end
  table.sort(largest, function(a, b) return a.ends < b.ends end)
  return largest
end

-- Whether the lease, which ran out then, would have been renewed but for holes. One that began while it ran prolongs it by
-- its length, and leaves time to connect anew: all of a time to live after a long one, half of it after a short one.
local function excused(id, ran_out)
  local ttl = ttl_of(id)
  for _, hole in ipairs(holes_after(ran_out - ttl)) do
    if hole.ends - hole.size < ran_out then
      ran_out = math.max(ran_out + hole.size, hole.ends + (hole.size > gap and ttl or ttl / 2))
    end
  end
  return now < ran_out
end

for _, id in ipairs(call('ZRANGEBYSCORE', NODES, now + 3600000, '+inf', 'LIMIT', 0, limit)) do
  call('ZADD', NODES, now + ttl_of(id), id)
end

local late = call('ZRANGEBYSCORE', NODES, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
local dead = 0
for i = 1, #late, 2 do
  local id = late[i]
  local node = node_load(id)
  if not node then
    if call('EXISTS', P .. 'node:' .. id) == 0 then call('ZREM', NODES, id) end -- else its record can't be read
  --@mark grace
  elseif not excused(id, tonumber(late[i + 1])) then
    node_gone(now, node, 'crashed')
    dead = dead + 1
  end
end
local lost = {}
for _, one in ipairs(call('SMEMBERS', P .. 'lost')) do
  if string.find(one, '^%w[%w._-]*:%w[%w._-]*:%a+$') then
    lost[#lost + 1] = one
  else -- no incarnation: nobody can give back what it holds
    call('SREM', P .. 'lost', one)
  end
end
commit(now)
return { dead, lost, features_in_use(), call('EXISTS', P .. 'schedules') }
