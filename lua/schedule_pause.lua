#!lua flags=allow-oom
--- schedule_pause: a schedule makes no tasks until it is resumed.
-- KEYS: prefix
-- ARGV: now_ms name
-- Replies: 1 from now on, 0 it was paused already
-- Refuses: schedule_not_found
-- Promises: what it has made goes on
--@include _schedule

arguments_given(2)
local name = name_given(ARGV[2])
if wrong() then return wrong() end

local schedule = schedule_read(name)
if not schedule then return schedule_missing(name) end
if schedule.paused then return 0 end
schedule.paused = '1'
schedule_put(schedule)
event('schedule_paused', name)
events_flush()
return 1
