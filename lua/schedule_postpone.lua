#!lua flags=allow-oom
--- schedule_postpone: a scheduler can't tell when a schedule is due: it is looked at again later, perhaps by another one.
-- KEYS: prefix
-- ARGV: now_ms name due again trouble
--   due: as was read ('' it can't be read); again: ms; trouble: why, in a line
-- Replies: 1, or 0 if it has moved on since, or is paused or gone
-- Refuses: nothing
-- Promises: no due time is passed
--@include _schedule

arguments_given(5)
local name, due, again = bytes_given(ARGV[2], 'the name', 1024 * 1024), ARGV[3], due_given(ARGV[4], 'again')
local trouble = line_of_text_given(ARGV[5], 'trouble', 1000)
if wrong() then return wrong() end

local schedule = schedule_read(name)
if not schedule or not is_id(name) then
  schedule_gone(name)
  return 0
end
if schedule.paused or (schedule.due or '') ~= due then
  schedule_put(schedule)
  return 0
end
schedule.again, schedule.trouble = again, trouble
schedule_put(schedule)
return 1
