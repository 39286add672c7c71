#!lua flags=allow-oom
--- task_promote: tasks whose time has come join their queues, or end where no node could hold one that isn't to wait
-- (delayed → pending | failed).
-- KEYS: prefix
-- ARGV: now_ms limit
-- Replies: {due, next_ms, in_ms, expires_in_ms}: how many were due, when the next one is, and how long that is from now ('' if
--   none waits); how long from now the next deadline is ('' if none has one)
-- Refuses: nothing
-- Promises: at most `limit` tasks; one that would be one label set too many in the queues is looked at again later, and
--   holds up nobody
--@include _waiting
--@include _infeasible
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
  if task and task.state == 'delayed' and not ends_infeasible(now, task) then
    if may_wait(task.request.class) then
      task_pending(task, task.request.turn)
      event('promoted', id)
    else
      postpone(task)
    end
  end
end
commit(now)

-- When the first entry of an index is due, as it stands there, and how long that is from now.
local function first_due(index)
  local _, score = unpack(read('ZRANGE', P .. index, '0', '0', 'WITHSCORES'))
  local at = tonumber(score or nil)
  if not at or at >= PY.EXACT then return '', '' end -- what is due then never is
  return score, whole(math.max(0, at - now))
end

local next_due, due_in = first_due('delayed')
local _, expires_in = first_due('expiring')
return { #due, next_due, due_in, expires_in }
