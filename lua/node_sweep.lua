#!lua flags=allow-oom
--- node_sweep: declare dead whose heartbeat has run out (up | draining → dead).
-- KEYS: prefix
-- ARGV: now_ms gap_ms limit
--   gap_ms: so long without a sweep and without any heartbeat means that Redis, not the nodes, was away
-- Replies: {dead, lost}: how many were declared dead, and all incarnations whose tasks wait to be given back
-- Refuses: nothing
-- Promises: the scores in `nodes` and Redis' clock alone decide, expired events only make it sooner; after an outage or
--   a jump of the clock every node gets one more time to live; scores in the future are put right
--@include _gone

local now, gap, limit = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local NODES = P .. 'nodes'

local function ttl_of(id)
  return tonumber(call('HGET', P .. 'node:' .. id, 'ttl') or 10000)
end

-- One more time to live for everyone; given again only after a sweep in between.
local function grace()
  for _, id in ipairs(call('ZRANGE', NODES, 0, -1)) do
    call('ZADD', NODES, now + ttl_of(id), id)
  end
end

local function outage()
  local last, graced = string.match(call('GET', P .. 'swept') or '', '^(%d+)(g?)')
  last = tonumber(last)
  if not last then return false end
  if now < last then return true end
  if now - last <= gap or graced == 'g' then return false end
  local latest = call('ZRANGE', NODES, -1, -1, 'WITHSCORES')
  return latest[1] ~= nil and tonumber(latest[2]) - ttl_of(latest[1]) <= last
end

local away = outage()
if away then grace() end
call('SET', P .. 'swept', now .. (away and 'g' or ''))

for _, id in ipairs(call('ZRANGEBYSCORE', NODES, now + 3600000, '+inf', 'LIMIT', 0, limit)) do
  call('ZADD', NODES, now + ttl_of(id), id)
end

local dead = call('ZRANGEBYSCORE', NODES, '-inf', now, 'LIMIT', 0, limit)
for _, id in ipairs(dead) do
  local node = node_load(id)
  if node then node_gone(now, node, 'crashed') else call('ZREM', NODES, id) end
end
events_flush()
return { #dead, call('SMEMBERS', P .. 'lost') }
