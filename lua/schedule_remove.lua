#!lua flags=allow-oom
--- schedule_remove: there is no such schedule any more.
-- KEYS: prefix
-- ARGV: now_ms name
-- Replies: 1
-- Refuses: schedule_not_found
-- Promises: the tasks that it has made stay
--@include _schedule

arguments_given(2)
local name = name_given(ARGV[2])
if wrong() then return wrong() end

if call('DEL', P .. 'schedule:' .. name) == 0 then return schedule_missing(name) end
schedule_gone(name)
event('schedule_removed', name)
events_flush()
return 1
