#!lua flags=allow-oom
--- task_hold: set a waiting task aside (pending | delayed → held).
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: the state; of an array of which nothing is left `running`: its elements are held one by one
-- Refuses: task_not_found, task_final, wrong_state (it holds an allocation)
-- Promises: repeated it changes nothing
--@include _waiting
--@include _reservation
--@include _commit

arguments_given(2)
local now, id = time_given(ARGV[1]), task_given(ARGV[2])
if wrong() then return wrong() end
local record = waiting_record(id)
if not record then return refuse('task_not_found', 'no task ' .. id) end
if record.s == 'held' then return 'held' end
if record.j and record.s == 'running' then return 'running' end
if record.s == 'assigned' or record.s == 'running' then
  return refuse('wrong_state', 'task ' .. id .. ' is ' .. record.s .. ': only a waiting task can be held; cancel it first')
end
if record.s ~= 'pending' and record.s ~= 'delayed' then
  return refuse('task_final', 'task ' .. id .. ' is already ' .. record.s)
end
waiting_change(id, record)
--@mark queue_left
take_out(id, record)
call('HSET', P .. 'task:' .. id, 's', 'held')
call('ZADD', P .. 'held', now, id)
event('held', id)
commit(now)
return 'held'
