#!lua flags=allow-oom
--- task_unhold: bring a held task back (held → pending | delayed | waiting).
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: the state; a task that isn't held stays as it is
-- Refuses: task_not_found, task_final, too_many_label_sets, wrong_state (it waits with its array)
-- Promises: it gets its old place in the order; repeated it changes nothing
--@include _waiting
--@include _commit

arguments_given(2)
local now, id = time_given(ARGV[1]), task_given(ARGV[2])
if wrong() then return wrong() end
local task = waiting_task(id)
if not task then return refuse('task_not_found', 'no task ' .. id) end
if FINAL[task.state] then return refuse('task_final', 'task ' .. id .. ' is already ' .. task.state) end
if task.state ~= 'held' then return task.state end
local due = task.request.due
local state = task.request.left and 'waiting' or due and tonumber(due) > now and 'delayed' or 'pending'
if state == 'pending' and not may_wait(task.request.class) then return too_many_label_sets() end
local bound = waits_with_its_array(task)
if bound then return bound end
waiting_change(task)
take_out(task)
event('unheld', id)
if state == 'delayed' then
  task.request.state = 'delayed'
  request_put(id, task.request)
  call('ZADD', P .. 'delayed', due, id)
elseif state == 'waiting' then
  task.request.state = nil
  request_put(id, task.request)
  call('ZADD', P .. 'waiting', task.request.at, id)
else
  task_pending(task, task.request.turn)
end
commit(now)
return state
