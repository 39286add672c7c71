#!lua flags=allow-oom
--- task_prioritize: change a task's priority; it keeps its sequence number.
-- KEYS: prefix
-- ARGV: now_ms task_id priority
-- Replies: the state
-- Refuses: task_not_found, task_final, wrong_state (it waits with its array)
-- Promises: a waiting task stands at its new place at once; a running one has it for its next attempt
--@include _waiting
--@include _reservation
--@include _commit

arguments_given(3)
local now, id = time_given(ARGV[1]), task_given(ARGV[2])
local priority = number_given(ARGV[3], 'priority', -PY.MOST_PRIORITY, PY.MOST_PRIORITY)
if wrong() then return wrong() end
local task = waiting_task(id)
if not task then return refuse('task_not_found', 'no task ' .. id) end
if FINAL[task.state] then return refuse('task_final', 'task ' .. id .. ' is already ' .. task.state) end
if tonumber(task.request.priority or 0) == priority then return task.state end
local bound = waits_with_its_array(task)
if bound then return bound end
waiting_change(task)
local request = task.request
if task.state == 'pending' then
  take_out(task)
  settle(now)
end
request.priority = priority ~= 0 and whole(priority) or nil
request_put(id, request)
event('prioritized', id, nil, nil, whole(priority))
if task.state == 'pending' then
  local member, number = entry_of(task, request.turn)
  queue_add(request.class, score_of(priority, tonumber(request.at)), member, number)
end
commit(now)
return task.state
