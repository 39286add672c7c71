--@include _queue
--@include _ledger
-- The reservation: one node is reserved for the first blocked task (hash `reservation`; the node's field `reserved`). It
-- holds only against later tasks. They may use what is spare: what the node has beyond the reserved need (everything
-- that ran there before will have ended when the task starts), or end before the task is expected to start.

local RESERVATION = P .. 'reservation'
local MOST_LIMITS_READ = 64 -- time limits read in one script
local reservation_read -- as it is in Redis; false: there is none
local head_limits_read = 0

local function reservation()
  if reservation_read == nil and call('EXISTS', RESERVATION) == 0 then reservation_read = false end -- as a rule
  if reservation_read == nil then
    local task, node, class, score, sequence, expected, spare_cpu, spare_memory =
      unpack(fields_of(RESERVATION, 'task', 'node', 'class', 'score', 'sequence', 'until', 'spare_cpu', 'spare_memory'))
    -- One that can't be read holds against nobody.
    reservation_read = task and node and class and tonumber(score) and sequence and whole_of(spare_cpu) and whole_of(spare_memory) and {
      task = task, node = node, class = class, score = tonumber(score), sequence = sequence,
      expected = tonumber(expected), cpu = tonumber(spare_cpu), memory = tonumber(spare_memory),
    } or false
  end
  return reservation_read or nil
end

-- The reserved node is free for all again; whoever changes the queues next may use it.
local function unreserve(now)
  local node = node_load(reservation_read.node)
  call('DEL', RESERVATION)
  if node and node.reserved == reservation_read.task then
    node.reserved = nil
    call('HDEL', P .. 'node:' .. node.id, 'reserved')
    if node.state == 'up' then
      node_index(node)
      call('ZADD', P .. 'dirty', now, node.id)
      wake()
    end
    event('unreserved', reservation_read.task, node.id)
  end
  reservation_read = false
end

-- A node takes no more tasks, for a while: it is drained, or has a fault.
local function node_pause(now, node, state)
  node.state = state
  call('HSET', P .. 'node:' .. node.id, 'state', state)
  node_withdraw(node)
  if node.reserved and reservation() then unreserve(now) end
end

local function is_later(score, member)
  return earlier(reservation_read.score, reservation_read.sequence, score, string.sub(member, 1, PY.SEQUENCE))
    and not (score == reservation_read.score and string.sub(member, 1, PY.SEQUENCE) == reservation_read.sequence)
end

-- When the head of a class will have ended if it starts now, by its time limit; nil: it has none.
local function head_ends(now, class)
  local _, member, array = class_peek(class)
  local request = member and (array and array.request or request_of(string.sub(member, PY.SEQUENCE + 1)))
  local limit = request and whole_of(request.time_limit)
  return limit and now + limit or nil
end

-- Whether the head of a class ends in time if it starts now: only with a time limit, and a known start to be in time for.
local function ends_before(now, class)
  if not reservation_read.expected or head_limits_read >= MOST_LIMITS_READ then return false end
  head_limits_read = head_limits_read + 1
  local ends = head_ends(now, class)
  return ends and ends <= reservation_read.expected
end

-- Whether what requires this asks for a resource that the task asks for which the node is reserved for: of that nothing is spare.
local function asks_for_kept(required)
  local kept = amounts_required(string.match(reservation_read.class, '^%d+:%d+(.*)$') or '')
  for _, one in ipairs(kept and amounts_required(required) or {}) do
    for _, other in ipairs(kept) do
      if one.name == other.name then return true end
    end
  end
  return false
end

-- Whether what the class needs is spare on the reserved node.
local function is_spare(class)
  if asks_for_kept(class.group.required) then return false end
  return class.cpu <= reservation_read.cpu and class.memory <= reservation_read.memory
end

-- As carrier() of the reserved node, for later tasks that don't end in time.
local function carrier_of_spare(node)
  local carries = carrier(node)
  return function(required) return carries(required) and not asks_for_kept(required) end
end

-- Whether the head of a class may use the reserved node, if it fits there.
local function may_use(now, score, member, class)
  if not is_later(score, member) then return true end
  return is_spare(class) or ends_before(now, class)
end

-- A task is put on the reserved node.
local function reservation_used(now, token, score, member, class)
  if string.sub(member, PY.SEQUENCE + 1) == reservation_read.task then return unreserve(now) end
  if not is_later(score, member) or not is_spare(class) then return end
  reservation_read.cpu, reservation_read.memory = reservation_read.cpu - class.cpu, reservation_read.memory - class.memory
  call('HSET', RESERVATION, 'spare_cpu', reservation_read.cpu, 'spare_memory', reservation_read.memory,
    '+' .. token, class.cpu .. ':' .. class.memory)
end

-- An attempt on the reserved node has ended: if it used what is spare, that is spare again.
local function reservation_restored(node, token)
  if not node.reserved or not reservation() then return end
  local used = call('HGET', RESERVATION, '+' .. token)
  local cpu, memory = string.match(used or '', '^(%d+):(%d+)$')
  if not cpu then return end
  reservation_read.cpu, reservation_read.memory = reservation_read.cpu + tonumber(cpu), reservation_read.memory + tonumber(memory)
  call('HDEL', RESERVATION, '+' .. token)
  call('HSET', RESERVATION, 'spare_cpu', reservation_read.cpu, 'spare_memory', reservation_read.memory)
end

-- Before queue_flush(): when the task leaves its queue for whatever reason, its reservation ends.
local function reservation_flush(now)
  if not taken_of() or not reservation() then return end
  for _, member in ipairs(taken_of(reservation_read.class)) do
    local id = string.sub(member, PY.SEQUENCE + 1)
    if id == reservation_read.task or id == string.match(reservation_read.task, '^.+/') then return unreserve(now) end
  end
end
