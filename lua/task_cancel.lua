#!lua flags=allow-oom
--- task_cancel: take a task out of its queue, or have its process stopped; of an array what isn't made yet
-- (pending → pending | cancelled; delayed | held → cancelled; assigned | running: reason `cancelling`, task_finish
-- does the rest once the processes are gone).
-- KEYS: prefix
-- ARGV: now_ms task_id operation requeue grace_ms note waiting
--   requeue 1: it goes to the back of its equals; 0: it ends as cancelled. note: free text for the decision log
--   waiting 1: only if it waits (pending, delayed, held); on a node it stays as it is
--   Elements of an array that were made are cancelled by calls of their own.
-- Replies: {outcome, state, attempt}: requeued, cancelled, stopping, already, unchanged (delayed or held, with requeue;
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
local key = P .. 'task:' .. id
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end

local function repeated()
  if record.s == 'assigned' or record.s == 'running' then return record.b and 'stopping' or 'requeued' end
  if record.s == 'pending' then return 'requeued' end
  if record.s == 'cancelled' then return 'cancelled' end
  return 'unchanged'
end

-- The elements of an array that aren't made yet are cancelled without being made.
local function cancel_rest()
  local array = array_load(id)
  local left = array_rest(array)
  call('HSET', key, 'b', 'end')
  if left > 0 then
    take_out(id, record)
    --@mark rest_cancelled
    call('HSET', key, 'jx', whole(array.next), 'jt', stamp(now), 'jn', whole(array.last + 1), 'ja', '0', 's', 'running')
    call('HDEL', key, 'd', 'm')
    call('HINCRBY', key, 'jca', whole(left))
    call('HINCRBY', key, 'jv', whole(left))
    read('SREM', P .. 'arrays', id)
    count('cancelled', left)
    count('unmade', left)
    event('cancelling', id, nil, nil, note ~= '' and note or nil)
  end
  record.s = array_settle(now, id) or 'running'
  return record.s == 'running' and 'stopping' or 'cancelled'
end

local function cancel()
  --@mark same_operation
  if record.o == operation then return repeated() end
  if record.s == 'completed' or record.s == 'failed' or record.s == 'cancelled' then return 'already' end
  if requeue and (record.s == 'delayed' or record.s == 'held') then return 'unchanged' end
  if waiting and (record.s == 'assigned' or record.s == 'running') then return 'unchanged' end
  if requeue and record.j and record.s == 'running' then return 'requeued' end -- nothing is left of it
  local sequence = requeue and record.s == 'pending' and sequence_behind(id, record)
  if sequence == nil then return nil end
  waiting_change(id, record)
  call('HSET', key, 'o', operation)
  if record.j and not requeue then return cancel_rest() end
  if record.s == 'assigned' or record.s == 'running' then
    --@mark intention
    local intention = (record.b == 'end' or not requeue) and 'end' or 'requeue'
    local node_id, incarnation = string.match(record.i, '^([^:]+):(.+)$')
    stop_attempt(id, node_id, incarnation, record.k, intention, 'cancelling', grace)
    event('cancelling', id, node_id, record.u, note ~= '' and note or nil)
    return 'stopping'
  end
  if not requeue then
    take_out(id, record)
    call('HDEL', key, 'd', 'm')
    task_end(now, id, record, 'cancelled', nil, note ~= '' and note or nil)
    record.s = 'cancelled'
    return 'cancelled'
  end
  take_out(id, record)
  task_pending(id, record, sequence)
  event('requeued', id, nil, record.u, 'cancelled')
  return 'requeued'
end

local outcome = cancel()
if not outcome then return sequences_used_up() end
commit(now)
return { outcome, record.s, tonumber(record.u or 0) }
