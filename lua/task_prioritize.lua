#!lua flags=allow-oom
--- task_prioritize: change a task's priority; it keeps its sequence number.
-- KEYS: prefix
-- ARGV: now_ms task_id priority
-- Replies: the state
-- Refuses: task_not_found, task_final
-- Promises: a waiting task stands at its new place at once; a running one has it for its next attempt
--@include _waiting
--@include _reservation
--@include _commit

arguments_given(3)
local now, id = time_given(ARGV[1]), task_given(ARGV[2])
local priority = number_given(ARGV[3], 'priority', -PY.MOST_PRIORITY, PY.MOST_PRIORITY)
if wrong() then return wrong() end
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end
if record.s == 'completed' or record.s == 'failed' or record.s == 'cancelled' then
  return refuse('task_final', 'task ' .. id .. ' is already ' .. record.s)
end
if tonumber(record.p or 0) == priority then return record.s end
waiting_change(id, record)
call('HSET', P .. 'task:' .. id, 'p', whole(priority))
event('prioritized', id, nil, nil, whole(priority))
if record.s == 'pending' then
  take_out(id, record)
  settle(now)
  local member, number = entry_of(id, record, record.n)
  queue_add(record.c, score_of(priority, tonumber(record.t)), member, number)
end
commit(now)
return record.s
