#!lua flags=allow-oom
--- node_sweep: declare dead whose heartbeat has run out (up | draining | faulty → dead).
-- KEYS: prefix
-- ARGV: now_ms gap_ms limit
--   gap_ms: so long without a sweep and without any heartbeat means that Redis, not the nodes, was away; holes of a
--   sixth of that prolong the leases that ran meanwhile
-- Replies: {dead, lost}: how many were declared dead, and all incarnations whose tasks wait to be given back
-- Refuses: nothing
-- Promises: the scores in `nodes` and Redis' clock alone decide, expired events only make it sooner; after an outage or
--   a jump of the clock every node gets one more time to live; scores in the future are put right
--@include _gone
--@include _observe
--@include _commit

arguments_given(3)
local now, gap, limit = time_given(ARGV[1]), duration_given(ARGV[2], 'gap_ms'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
if wrong() then return wrong() end
local NODES = P .. 'nodes'

local function ttl_of(id)
  return whole_of(field_of(P .. 'node:' .. id, 'ttl')) or TTL
end

local seen = observe(now)
if seen.size == SET_BACK then
  seen.size = SET_BACK - 1
  for _, id in ipairs(call('ZRANGE', NODES, 0, -1)) do
    call('ZADD', NODES, now + ttl_of(id), id)
  end
end
seen.sweep = now
observed(now, seen)

-- Whether the lease, which ran out then, would have been renewed but for a hole.
local function excused(id, ran_out)
  local ttl = ttl_of(id)
  if seen.size > gap and now < seen.since + ttl then return true end
  if seen.hole <= gap / 6 or seen.at <= ran_out - ttl then return false end
  local until_then = ran_out + seen.hole
  if seen.at <= until_then then until_then = math.max(until_then, seen.at + ttl / 2) end -- it must connect anew first
  return now < until_then
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
return { dead, lost }
