#!lua flags=allow-oom
--- repair_count: set the count of pending tasks, if nothing has happened since they were counted; refused allocations are
-- noted.
-- KEYS: prefix
-- ARGV: now_ms last_event pending
--   last_event: the id of the last entry of the decision log before counting: every change of a queue adds one
-- Replies: what was done, in words ('' nothing), or `moved`: count again
-- Refuses: nothing
-- Promises: written only where the count given is that of this very moment
--@include _repair

arguments_given(3)
local last_event, pending = ARGV[2], number_given(ARGV[3], 'pending', 0, MOST_COUNT)
if wrong() then return wrong() end

local newest = unpack(call('XREVRANGE', P .. 'events', '+', '-', 'COUNT', 1))
local newest_id = unpack(newest or {})
if (newest_id or '') ~= last_event then return 'moved' end
local stored = tonumber(call('HGET', P .. 'counts', 'pending') or 0)
if stored ~= pending then
  call('HSET', P .. 'counts', 'pending', whole(pending))
  did('pending ' .. stored .. ' -> ' .. whole(pending))
end
if call('HDEL', P .. 'counts', 'overbooked') == 1 then did('what was refused because it didn\'t fit is noted') end
return repaired()
