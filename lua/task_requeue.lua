#!lua flags=allow-oom
--- task_requeue: run a task again, or now (delayed | completed | failed | cancelled → pending).
-- KEYS: prefix
-- ARGV: now_ms task_id operation
-- Replies: the state
-- Refuses: task_not_found, wrong_state (held, assigned, running), counter_full, too_many_label_sets
-- Promises: the same operation again changes nothing; retries and crashes count anew, refusals are forgotten
--@include _waiting
--@include _commit

arguments_given(3)
local id, operation = task_given(ARGV[2]), id_given(ARGV[3], 'operation')
if wrong() then return wrong() end
local key = P .. 'task:' .. id
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end
if record.o == operation or record.s == 'pending' then return record.s end
if record.j and record.s ~= 'held' and record.s ~= 'delayed' then
  return refuse('wrong_state', 'array ' .. id .. ' is ' .. record.s .. ': requeue its elements, such as ' .. id .. '/' .. string.match(record.j, '^%d+'))
end
if record.s == 'held' or record.s == 'assigned' or record.s == 'running' then
  local instead = record.s == 'held' and 'unhold' or 'cancel'
  return refuse('wrong_state', 'task ' .. id .. ' is ' .. record.s .. ': use ' .. instead)
end
record.c = string.match(record.c, '^[^!]+') -- nodes that have refused it are asked again
if not may_wait(record.c) then return too_many_label_sets() end
local sequence = sequence_behind(id, record)
if not sequence then return sequences_used_up() end
waiting_change(id, record)
take_out(id, record)
if call('HGET', key, 'rx') then call('DEL', P .. 'result:' .. id) end
call('HDEL', key, 'y', 'z', 'E', 'rx', 'Z')
call('HSET', key, 'o', operation, 'c', record.c)
task_pending(id, record, sequence)
event('requeued', id, nil, record.u, 'asked')
commit()
return 'pending'
