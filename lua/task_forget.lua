#!lua flags=allow-oom
--- task_forget: drop one ended task.
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: 1; of an array the indexes of its elements, FIRST-LAST: array_forget drops them, and it with the last
-- Refuses: task_not_found, task_not_final
-- Promises: nothing of it is left
--@include _forget
--@include _waiting
--@include _commit

arguments_given(2)
local id = task_given(ARGV[2])
if wrong() then return wrong() end
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end
local state = record.s
if state ~= 'completed' and state ~= 'failed' and state ~= 'cancelled' then
  return refuse('task_not_final', 'task ' .. id .. ' is ' .. state .. ': cancel it with --no-requeue first')
end
if record.j then return record.j end
waiting_change(id, record)
forget(state, { id })
commit()
return 1
