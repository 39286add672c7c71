#!lua flags=allow-oom
--- schedule_resume: a paused schedule goes on.
-- KEYS: prefix
-- ARGV: now_ms name due
--   due: when it is due next, ms (`never`): what was due meanwhile stays undone
-- Replies: 1 from now on, 0 it wasn't paused
-- Refuses: schedule_not_found
-- Promises: repeated it changes nothing
--@include _schedule

arguments_given(3)
local name, due = name_given(ARGV[2]), due_given(ARGV[3], 'due')
if wrong() then return wrong() end

local schedule = schedule_read(name)
if not schedule then return schedule_missing(name) end
if not schedule.paused then return 0 end
schedule.paused, schedule.again, schedule.trouble, schedule.due = nil, nil, nil, due
schedule_put(schedule)
event('schedule_resumed', name)
events_flush()
return 1
