#!lua flags=allow-oom
--- task_forget: drop one ended task.
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: 1
-- Refuses: task_not_found, task_not_final
-- Promises: nothing of it is left
--@include _forget

local id = ARGV[2]
local r = call('HMGET', P .. 'task:' .. id, 's', 'c')
if not r[2] then return refuse('task_not_found', 'no task ' .. id) end
local state = r[1] or 'pending'
if state ~= 'completed' and state ~= 'failed' and state ~= 'cancelled' then
  return refuse('task_not_final', 'task ' .. id .. ' is ' .. state .. ': cancel it with --no-requeue first')
end
forget(state, { id })
counts_flush()
return 1
