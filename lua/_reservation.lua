--@include _queue
--@include _ledger
-- The reservation: one node is kept for the first blocked task (hash `reservation`; the node's field `reserved`). It
-- holds only against later tasks. They may use what is spare: what the node has beyond the reserved need (everything
-- that ran there before will have ended when the task starts), or end before the task is expected to start.

local RESERVATION = P .. 'reservation'
local TIMED_LOOKS = 64 -- time limits read in one script
local current             -- the reservation as read; false: there is none
local timed_looks = 0

local function reservation()
  if current == nil then
    local r = fields_of(RESERVATION, 'task', 'node', 'class', 'score', 'sequence', 'until', 'spare_cpu', 'spare_memory')
    -- One that can't be read holds against nobody.
    current = r[1] and r[2] and r[3] and tonumber(r[4]) and r[5] and whole_of(r[7]) and whole_of(r[8]) and {
      task = r[1], node = r[2], class = r[3], score = tonumber(r[4]), sequence = r[5], expected = tonumber(r[6]),
      cpu = tonumber(r[7]), memory = tonumber(r[8]),
    } or false
  end
  return current or nil
end

-- The reserved node is free for all again; whoever changes the queues next may use it.
local function unreserve(now)
  local node = node_load(current.node)
  call('DEL', RESERVATION)
  if node and node.reserved == current.task then
    node.reserved = nil
    call('HDEL', P .. 'node:' .. node.id, 'reserved')
    if node.state == 'up' then
      node_index(node)
      call('ZADD', P .. 'dirty', now, node.id)
      wake()
    end
    event('unreserved', current.task, node.id)
  end
  current = false
end

-- A node takes no more tasks, for a while: it is drained, or has a fault.
local function node_pause(now, node, state)
  node.state = state
  call('HSET', P .. 'node:' .. node.id, 'state', state)
  node_withdraw(node)
  if node.reserved and reservation() then unreserve(now) end
end

local function is_later(score, member)
  return earlier(current.score, current.sequence, score, string.sub(member, 1, PY.SEQUENCE))
    and not (score == current.score and string.sub(member, 1, PY.SEQUENCE) == current.sequence)
end

-- When the head of a class will have ended if it starts now, by its time limit; nil: it has none.
local function head_ends(now, class)
  local _, member, array = class_peek(class)
  local key = member and (array and array.key or P .. 'task:' .. string.sub(member, PY.SEQUENCE + 1))
  local limit = key and whole_of(fields_of(key, 'l')[1])
  return limit and now + limit or nil
end

-- Whether the head of a class ends in time if it starts now: only with a time limit, and a known start to be in time for.
local function ends_before(now, class)
  if not current.expected or timed_looks >= TIMED_LOOKS then return false end
  timed_looks = timed_looks + 1
  local ends = head_ends(now, class)
  return ends and ends <= current.expected
end

-- Whether the head of a class may use the reserved node, if it fits there.
local function may_use(now, score, member, class)
  if not is_later(score, member) then return true end
  return (class.cpu <= current.cpu and class.memory <= current.memory) or ends_before(now, class)
end

-- A task is put on the reserved node.
local function reservation_used(now, token, score, member, class)
  if string.sub(member, PY.SEQUENCE + 1) == current.task then return unreserve(now) end
  if not is_later(score, member) or not (class.cpu <= current.cpu and class.memory <= current.memory) then return end
  current.cpu, current.memory = current.cpu - class.cpu, current.memory - class.memory
  call('HSET', RESERVATION, 'spare_cpu', current.cpu, 'spare_memory', current.memory,
    '+' .. token, class.cpu .. ':' .. class.memory)
end

-- An attempt on the reserved node has ended: if it used what is spare, that is spare again.
local function reservation_restored(node, token)
  if not node.reserved or not reservation() then return end
  local used = call('HGET', RESERVATION, '+' .. token)
  local cpu, memory = string.match(used or '', '^(%d+):(%d+)$')
  if not cpu then return end
  current.cpu, current.memory = current.cpu + tonumber(cpu), current.memory + tonumber(memory)
  call('HDEL', RESERVATION, '+' .. token)
  call('HSET', RESERVATION, 'spare_cpu', current.cpu, 'spare_memory', current.memory)
end

-- Before queue_flush(): when the task leaves its queue for whatever reason, its reservation ends.
local function reservation_flush(now)
  if not is_something_taken() or not reservation() then return end
  for _, member in ipairs(taken_of(current.class) or {}) do
    local id = string.sub(member, PY.SEQUENCE + 1)
    if id == current.task or id == string.match(current.task, '^.+/') then return unreserve(now) end
  end
end
