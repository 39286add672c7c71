#!lua flags=allow-oom
--- task_requeue: run a task again, or now (delayed | completed | failed | cancelled → pending).
-- KEYS: prefix
-- ARGV: now_ms task_id operation
-- Replies: the state
-- Refuses: task_not_found, wrong_state (held, waiting, assigned, running), counter_full, too_many_label_sets
-- Promises: the same operation again changes nothing; retries and crashes count anew, refusals are forgotten
--@include _waiting
--@include _commit

arguments_given(3)
local id, operation = task_given(ARGV[2]), id_given(ARGV[3], 'operation')
if wrong() then return wrong() end
local task = waiting_task(id)
if not task then return refuse('task_not_found', 'no task ' .. id) end
local state, request = task.state, task.request
if request.operation == operation or state == 'pending' then return state end
if request.array and state ~= 'held' and state ~= 'delayed' then
  return refuse('wrong_state', 'array ' .. id .. ' is ' .. state .. ': requeue its elements, such as ' .. id .. '/' .. string.match(request.array, '^%d+'))
end
if state == 'waiting' then
  return refuse('wrong_state', 'task ' .. id .. ' waits for others: it runs when they have ended')
end
if state == 'held' or state == 'assigned' or state == 'running' then
  local instead = state == 'held' and 'unhold' or 'cancel'
  return refuse('wrong_state', 'task ' .. id .. ' is ' .. state .. ': use ' .. instead)
end
local class = string.match(request.class, '^[^!]+') -- nodes that have refused it are asked again
if not may_wait(class) then return too_many_label_sets() end
local sequence = sequence_behind(task)
if not sequence then return sequences_used_up() end
waiting_change(task)
take_out(task)
request = task.request
if FINAL[state] then request.expires = nil end -- its deadline was for its first start
if task.outcome and task.outcome.stored then call('DEL', P .. 'result:' .. id) end
request.class, request.operation = class, operation
request.retries_used, request.crashes, request.refusal = nil, nil, nil
local number = last_attempt(task).number
task_pending(task, sequence)
outcome_put(id, nil)
event('requeued', id, nil, number, 'asked')
commit()
return 'pending'
