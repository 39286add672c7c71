#!lua
--- schedule_run: a task of a schedule now, whenever it is due (none → pending | delayed; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit name id
-- Replies: 1
-- Refuses: schedule_not_found, wrong_state (paused, or its task can't be made), counter_full
-- Promises: repeated with the same id it is the same task
--@include _scheduled

arguments_given(5)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
local name, id = name_given(ARGV[4]), id_given(ARGV[5], 'task id')
if string.sub(id, 1, #name + 1) ~= name .. '.' then complain('invalid_id', 'the id must begin with the name of its schedule') end
if wrong() then return wrong() end

local schedule = schedule_read(name)
if not schedule then return schedule_missing(name) end
if schedule.paused then
  return refuse('wrong_state', 'schedule ' .. name .. ' is paused: `rq-sched schedules resume ' .. name .. '` first')
end
if not sequences_take(1) then return sequences_used_up() end
local known = schedule.last == id
local fault = not known and task_make(now, schedule, id)
sequences_back()
if fault then return refuse('wrong_state', 'schedule ' .. name .. ': ' .. fault) end
if not known then schedule_put(schedule) end
place_new(now, nonce, limit)
return 1
