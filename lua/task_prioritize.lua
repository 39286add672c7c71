#!lua flags=allow-oom
--- task_prioritize: change a task's priority; it keeps its sequence number.
-- KEYS: prefix
-- ARGV: now_ms task_id priority
-- Replies: the state
-- Refuses: task_not_found, task_final
-- Promises: a waiting task stands at its new place at once; a running one has it for its next attempt
--@include _waiting
--@include _reservation

local now = clock(ARGV[1])
local id, priority = ARGV[2], tonumber(ARGV[3])
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end
if record.s == 'completed' or record.s == 'failed' or record.s == 'cancelled' then
  return refuse('task_final', 'task ' .. id .. ' is already ' .. record.s)
end
if tonumber(record.p or 0) == priority then return record.s end
call('HSET', P .. 'task:' .. id, 'p', priority)
event('prioritized', id, nil, nil, priority)
if record.s == 'pending' then
  take_out(id, record)
  reservation_flush(now)
  queue_flush()
  local member, number = entry_of(id, record, record.n)
  queue_add(record.c, score_of(priority, tonumber(record.t)), member, number)
  if queue_flush() then wake() end
end
counts_flush()
events_flush()
return record.s
