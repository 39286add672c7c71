#!lua flags=allow-oom
--- task_unhold: bring a held task back (held → pending | delayed).
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: the state; a task that isn't held stays as it is
-- Refuses: task_not_found, task_final, too_many_label_sets
-- Promises: it gets its old place in the order; repeated it changes nothing
--@include _waiting
--@include _commit

arguments_given(2)
local now, id = time_given(ARGV[1]), task_given(ARGV[2])
if wrong() then return wrong() end
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end
if record.s == 'completed' or record.s == 'failed' or record.s == 'cancelled' then
  return refuse('task_final', 'task ' .. id .. ' is already ' .. record.s)
end
if record.s ~= 'held' then return record.s end
local state = record.d and tonumber(record.d) > now and 'delayed' or 'pending'
if state == 'pending' and not may_wait(record.c) then return too_many_label_sets() end
waiting_change(id, record)
take_out(id, record)
event('unheld', id)
if state == 'delayed' then
  call('HSET', P .. 'task:' .. id, 's', 'delayed')
  call('ZADD', P .. 'delayed', record.d, id)
else
  task_pending(id, record, record.n)
end
commit(now)
return state
