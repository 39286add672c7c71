#!lua flags=allow-oom
--- task_expire: tasks that haven't come to a node by their deadlines (pending | delayed | held | waiting → failed).
-- KEYS: prefix
-- ARGV: now_ms limit
-- Replies: how many entries of the index were looked at: `limit` where there may be more
-- Refuses: nothing
-- Promises: one that is on a node, or was, is left alone; of an array what isn't made fails, however much that is
--@include _ended
--@include _waiting
--@include _reservation
--@include _commit

arguments_given(2)
local now, limit = time_given(ARGV[1]), batch_given(ARGV[2])
if wrong() then return wrong() end

local function expire(id)
  local task = waiting_task(id)
  local expires = task and not task.unmade and WAITING[task.state] and whole_of(task.request.expires)
  if not expires then return end -- a stray
  if expires > now then
    read('ZADD', P .. 'expiring', expires, id)
    return
  end
  take_out(task)
  if task.request.array then
    rest_failed(now, id, task.request, 'expired')
  else
    task_end(now, task, 'failed', nil, 'expired', { error = 'it had not started by its deadline' })
  end
end

local due = read('ZRANGEBYSCORE', P .. 'expiring', '-inf', whole(now), 'LIMIT', 0, limit)
if due.err then -- of another type
  call('DEL', P .. 'expiring')
  due = {}
end
records_fetch(due)
for _, id in ipairs(due) do
  call('ZREM', P .. 'expiring', id)
  expire(id)
end
commit(now)
return #due
