#!lua flags=allow-oom
--- task_hold: set a waiting task aside (pending | delayed | waiting → held).
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: the state; of an array of which nothing is left `running`: its elements are held one by one
-- Refuses: task_not_found, task_final, wrong_state (it holds an allocation; or waits with its array)
-- Promises: repeated it changes nothing
--@include _waiting
--@include _reservation
--@include _commit

arguments_given(2)
local now, id = time_given(ARGV[1]), task_given(ARGV[2])
if wrong() then return wrong() end
local task = waiting_task(id)
if not task then return refuse('task_not_found', 'no task ' .. id) end
local state = task.state
if state == 'held' then return 'held' end
if task.request.array and state == 'running' then return 'running' end
if state == 'assigned' or state == 'running' then
  return refuse('wrong_state', 'task ' .. id .. ' is ' .. state .. ': only a waiting task can be held; cancel it first')
end
if FINAL[state] then return refuse('task_final', 'task ' .. id .. ' is already ' .. state) end
local bound = waits_with_its_array(task)
if bound then return bound end
waiting_change(task)
--@mark queue_left
take_out(task)
task.request.state = 'held'
request_put(id, task.request)
call('ZADD', P .. 'held', now, id)
event('held', id)
commit(now)
return 'held'
