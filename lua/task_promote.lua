#!lua flags=allow-oom
--- task_promote: tasks whose time has come join their queues (delayed → pending).
-- KEYS: prefix
-- ARGV: now_ms limit
-- Replies: {due, next_ms, in_ms}: how many were due, when the next one is, and how long that is from now ('' if none waits)
-- Refuses: nothing
-- Promises: at most `limit` tasks; one that would be one label set too many in the queues is looked at again later, and
--   holds up nobody
--@include _waiting
--@include _commit

arguments_given(2)
local now, limit = time_given(ARGV[1]), batch_given(ARGV[2])
if wrong() then return wrong() end

-- The more are delayed, the later: whoever delays very many can't make this run all the time.
local function postpone(task)
  local again = whole(now + 1000 + call('ZCARD', P .. 'delayed'))
  task.request.due, task.request.reason = again, 'too_many_label_sets'
  request_put(task.id, task.request)
  call('ZADD', P .. 'delayed', again, task.id)
end

local due = call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, limit)
records_fetch(due)
for _, id in ipairs(due) do
  local task = waiting_task(id)
  --@mark promoted
  call('ZREM', P .. 'delayed', id)
  if task and task.state == 'delayed' then
    if may_wait(task.request.class) then
      task_pending(task, task.request.turn)
      event('promoted', id)
    else
      postpone(task)
    end
  end
end
commit(now)
local _, next_due = unpack(call('ZRANGE', P .. 'delayed', 0, 0, 'WITHSCORES'))
local next_one = tonumber(next_due or nil)
if not next_one or next_one >= PY.EXACT then return { #due, '', '' } end -- what is due then never is
return { #due, next_due, whole(math.max(0, next_one - now)) }
