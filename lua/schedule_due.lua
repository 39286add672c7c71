#!lua flags=no-writes
--- schedule_due: which schedules are to be looked at.
-- KEYS: prefix
-- ARGV: now_ms limit
-- Replies: {now_ms, next_ms, schedules}: the time, when the next one is ('' none), and at most `limit` of those that are to be
--   looked at now: {name, due, cron, zone, interval, start, until, catch_up} each, with '' for what isn't there
-- Refuses: nothing
-- Promises: reads only
--@include _schedule

local NEEDED = { 'due', 'cron', 'zone', 'interval', 'start', 'until', 'catch_up' }

arguments_given(2)
local now, limit = time_given(ARGV[1]), batch_given(ARGV[2])
if wrong() then return wrong() end

local found = read('ZRANGEBYSCORE', P .. 'schedules', '-inf', now, 'LIMIT', 0, limit)
if found.err then return { stamp(now), '', {} } end
local rows = {}
for i, name in ipairs(found) do
  local row = { name }
  local fields = fields_of(P .. 'schedule:' .. name, unpack(NEEDED))
  for j = 1, #NEEDED do row[j + 1] = fields[j] or '' end
  rows[i] = row
end
local _, next_ms = unpack(call('ZRANGEBYSCORE', P .. 'schedules', '(' .. whole(now), '(+inf', 'WITHSCORES', 'LIMIT', 0, 1))
return { stamp(now), next_ms or '', rows }
