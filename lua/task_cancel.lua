#!lua flags=allow-oom
--- task_cancel: take a task out of its queue, or have its process stopped; of an array what isn't made yet
-- (pending → pending | cancelled; delayed | held | waiting → cancelled; assigned | running: reason `cancelling`, task_finish
-- does the rest once the processes are gone).
-- KEYS: prefix
-- ARGV: now_ms task_id operation requeue grace_ms note waiting
--   requeue 1: it goes to the back of its equals; 0: it ends as cancelled. note: free text for the decision log
--   waiting 1: only if it waits (pending, delayed, held, waiting); on a node it stays as it is
--   Elements of an array that were made are cancelled by calls of their own.
-- Replies: {outcome, state, attempt}: requeued, cancelled, stopping, already, unchanged (delayed, held or waiting, with requeue;
--   assigned or running, with waiting)
-- Refuses: task_not_found, counter_full
-- Promises: the same operation again changes nothing; an end that was promised is never taken back
--@include _end_attempt
--@include _waiting
--@include _stop
--@include _reservation
--@include _commit

arguments_given(7)
local now, id, operation = time_given(ARGV[1]), task_given(ARGV[2]), id_given(ARGV[3], 'operation')
local requeue, grace = flag_given(ARGV[4], 'requeue'), whole(duration_given(ARGV[5], 'grace_ms'))
local note, waiting = word_given(ARGV[6], 'note', 1024), flag_given(ARGV[7], 'waiting')
if wrong() then return wrong() end
local task = waiting_task(id)
if not task then return refuse('task_not_found', 'no task ' .. id) end
local request = task.request

local IN_THEIR_STATE = { delayed = true, held = true, waiting = true } -- whatever is requeued

local function is_active()
  return task.state == 'assigned' or task.state == 'running'
end

local function repeated()
  if is_active() then return task.attempt and task.attempt.after and 'stopping' or 'requeued' end
  if task.state == 'pending' then return 'requeued' end
  if task.state == 'cancelled' then return 'cancelled' end
  return 'unchanged'
end

local function cancel_rest()
  if array_rest(array_load(id)) > 0 then take_out(task) end
  task.state = rest_cancelled(now, id, request, note ~= '' and note or nil)
  return task.state == 'running' and 'stopping' or 'cancelled'
end

local function cancel()
  --@mark same_operation
  if request.operation == operation then return repeated() end
  if FINAL[task.state] then return 'already' end
  if requeue and IN_THEIR_STATE[task.state] then return 'unchanged' end
  if waiting and is_active() then return 'unchanged' end
  if requeue and request.array and task.state == 'running' then return 'requeued' end -- nothing is left of it
  local sequence = requeue and task.state == 'pending' and sequence_behind(task)
  if sequence == nil then return nil end
  waiting_change(task)
  request = task.request
  request.operation = operation
  request_put(id, request)
  if request.array and not requeue then return cancel_rest() end
  if is_active() then
    --@mark intention
    local intention = (task.attempt.after == 'end' or not requeue) and 'end' or 'requeue'
    local node_id, incarnation = string.match(task.attempt.place, '^([^:]+):(.+)$')
    stop_attempt(id, node_id, incarnation, task.attempt.token, intention, 'cancelling', grace)
    event('cancelling', id, node_id, task.attempt.number, note ~= '' and note or nil)
    return 'stopping'
  end
  take_out(task)
  if requeue then
    local number = last_attempt(task).number
    task_pending(task, sequence)
    event('requeued', id, nil, number, 'cancelled')
    return 'requeued'
  end
  task_end(now, task, 'cancelled', nil, note ~= '' and note or nil)
  task.state = 'cancelled'
  return 'cancelled'
end

local outcome = cancel()
if not outcome then return sequences_used_up() end
commit(now)
return { outcome, task.state, tonumber(last_attempt(task).number or 0) }
