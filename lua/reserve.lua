#!lua flags=allow-oom
--- reserve: reserve a node for the first blocked task, and room of limits for the first that ask for them; stop preemptible tasks of lower priority where that makes room.
-- KEYS: prefix
-- ARGV: now_ms grace_ms
-- Replies: {task, node, preempted, looked, kept_for}: the first blocked task, the node that is reserved ('' none), how many
--   tasks got an order to stop, how many heads were looked at, and the task that the node is reserved for: an earlier one may
--   be blocked since
-- Refuses: nothing
-- Promises: at most one reservation; it comes when the task has been the first blocked one for `reserve_after`, and
--   stays until it is placed or taken away, or an earlier task takes it over; preemption takes `preempt_after`, stops only
--   tasks of lower priority that are marked preemptible, have run for a while and weren't stopped so too often; suspects
--   need the largest node that there is; sets of labels that too many nodes would have to be read for are passed over
--@include _reservation
--@include _preempt
--@include _blocked
--@include _kept
--@include _expected
--@include _suspect
--@include _waiting
--@include _commit

arguments_given(2)
local now, grace = time_given(ARGV[1]), whole(duration_given(ARGV[2], 'grace_ms'))
if wrong() then return wrong() end

-- The setting in ms; nil: it is off.
local function after(name, default)
  local value = setting(name)
  if value == 'off' then return nil end
  local seconds = tonumber(value) or default
  return (seconds >= 0 and seconds < PY.EXACT / 1000 and seconds or default) * 1000
end

-- Since when it has been the first.
local function since(first)
  local known_first, when = unpack(fields_of(RESERVATION, 'first', 'since'))
  if known_first == first.task and whole_of(when) and whole_of(when) <= now then return tonumber(when) end
  if type(read('HLEN', RESERVATION)) == 'table' then call('DEL', RESERVATION) end -- of another type
  call('HSET', RESERVATION, 'first', first.task, 'since', now)
  return now
end

local function reserve_node(first, id, total_cpu, total_memory, time)
  if reservation() then
    unreserve(now)
    call('HSET', RESERVATION, 'first', first.task, 'since', first.since)
  end
  local node = node_load(id)
  if not node then
    call('ZREM', P .. 'free', id)
    return first.task, '', 0, ''
  end
  node.reserved = first.task
  call('HSET', P .. 'node:' .. id, 'reserved', first.task)
  index_drop('free', id, node.stands)
  call('HSET', RESERVATION, 'task', first.task, 'class', first.class.name, 'score', first.score,
    'sequence', first.sequence, 'node', id, 'incarnation', node.incarnation, 'at', now, 'until', time or '',
    'spare_cpu', total_cpu - first.class.cpu, 'spare_memory', total_memory - first.class.memory)
  event('reserved', first.task, id)
  return first.task, id, 0, first.task
end

local reserve_after, preempt_after = after('reserve_after', PY.RESERVE_AFTER), after('preempt_after', PY.PREEMPT_AFTER)

local function run()
  local first = (reserve_after or preempt_after) and first_blocked()
  if not first then
    if reservation() then unreserve(now) else call('DEL', RESERVATION) end
    return '', '', 0, ''
  end
  first.since = since(first)
  local waited = now - first.since
  local present = reservation()
  local mine = present and present.task == first.task
  if preempt_after and waited >= preempt_after then
    local last = mine and tonumber(call('HGET', RESERVATION, 'preempting') or nil)
    local chosen = not (last and now - last < preempt_after) and victims(now, first)
    if chosen then
      reserve_node(first, chosen.node.id, chosen.total_cpu, chosen.total_memory)
      call('HSET', RESERVATION, 'preempting', now)
      return first.task, chosen.node.id, preempt(chosen, grace), first.task
    end
  end
  if reserve_after and waited >= reserve_after and not mine then
    local node, time = expected_room(first.class)
    if node then return reserve_node(first, node.id, node.cpu, node.memory, time) end
  end
  if present then return first.task, present.node, 0, present.task end
  return first.task, '', 0, ''
end

-- Suspects whose whole node is no longer the largest: it left, or a larger one came. A few a call, at random.
for _, id in ipairs(call('SRANDMEMBER', P .. 'suspects', 16)) do
  local suspected = waiting_task(id)
  local request = suspected and suspected.request
  local class = request and request.asked and suspected.state == 'pending' and alone_class(request.asked)
  if class and class ~= request.class then
    take_out(suspected)
    request.class = class
    task_pending(suspected, request.turn)
  end
end
settle(now)

local task, node, preempted, kept_for = run()
limits_keep(now, reserve_after)
commit(now)
return { task, node, preempted, heads_looked_at(), kept_for }
