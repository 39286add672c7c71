--@include _events
--@include _labels
-- Nodes: what they have free, the allocations on them, their orders. Changes are collected and written once.

local TTL = 10000 -- ms without a heartbeat after which a node counts as dead, where its record doesn't say it

-- The fields of a node's record; those at the front are amounts, which are written where they have changed, by their names here.
local FIELDS = {
  'free_cpu', 'free_memory', 'ordered', 'acked', 'running', 'started', 'surplus',
  'state', 'incarnation', 'reserved', 'ends', 'labels', 'total_cpu', 'total_memory', 'drivers',
  'free_resources',
}
local AMOUNTS = { 'cpu', 'memory', 'ordered', 'acked', 'running', 'started', 'surplus' }
local nodes_seen, nodes_changed = {}, {}

-- What a need of CPU can have: what is free, and what elastic attempts hold beyond their need (_surplus takes it back).
local function room_cpu(node)
  return node.cpu + node.surplus
end

-- The names of what is free, as of the indexes in which its node stands: *gpu*scratch; and how many they are.
local function resource_names(free_text)
  local names, kinds = '', 0
  for name in string.gmatch(free_text, '(%l[%l%d_-]*)=%S+') do
    if kinds < PY.MOST_AMOUNTS then names, kinds = names .. '*' .. name, kinds + 1 end
  end
  return names, kinds
end

-- Its place in `free`: nodes that have resources stand behind those that have none, those with many last.
local function node_score(node)
  return node.kinds * PY.KIND_STEP + room_cpu(node) * PY.MEMORY_STEP + node.memory
end

-- Whether nothing fits there. Where a task without cores has ever been, memory is enough.
local function is_full(node)
  return node.memory < 1 or (room_cpu(node) < 1 and not node.drivers)
end

-- What tonumber() has taken: `inf` and `nan` are no amounts.
local function is_amount(number)
  return number >= 0 and number < PY.EXACT
end

local function node_load(id)
  local node = nodes_seen[id]
  if node then return node end
  local found = read('HMGET', P .. 'node:' .. id, unpack(FIELDS))
  if found[#AMOUNTS] == false then found[#AMOUNTS] = 0 end -- surplus: there only where there is some
  for i = 1, #AMOUNTS do found[i] = tonumber(found[i]) end
  local cpu, memory, ordered, acked, running, started, surplus, state, incarnation, reserved, ends, labels, total_cpu, total_memory,
    drivers, free_resources = unpack(found, 1, #FIELDS)
  if not state then return nil end
  local place = id .. ':' .. (incarnation or '')
  local path = P .. 'node:' .. place
  ends, total_cpu, total_memory = tonumber(ends), tonumber(total_cpu), tonumber(total_memory)
  node = { -- all fields at once: a table that grows is copied each time
    id = id, state = state, incarnation = incarnation, cpu = cpu, memory = memory, ordered = ordered, acked = acked, running = running,
    started = started, surplus = surplus, reserved = reserved or nil, amounts_read = found, score_kept = nil, entries = {}, cleared = {},
    orders = {}, ordered_before = ordered, ends = ends, ends_read = ends, place = place, path = path, ledger = path .. ':tasks',
    total_cpu = total_cpu, total_memory = total_memory, touched = false, drivers = drivers == '1', labels = labels or '', carries = nil, trims = false,
    start_in_full = nil, kinds = 0, stands = labels or '', -- 32 of them: with one more the table is twice as large
  }
  if free_resources then
    local names, kinds = resource_names(free_resources)
    node.kinds, node.stands = kinds, node.stands .. names
    node.free_resources, node.resources_read = free_resources, free_resources
  end
  local known = incarnation and find(incarnation, ID) and surplus and cpu and memory and ordered and acked and running and started
    and total_cpu and total_memory
  if not known or not is_amount(cpu + memory + ordered + acked + surplus + total_cpu + total_memory) then
    return nil -- it can't be read: nothing is put there, and the audit mends it
  end
  node.score_kept = node_score(node)
  nodes_seen[id] = node
  return node
end

-- As it is now: it was registered in this script.
local function node_reload(id)
  nodes_seen[id] = nil
  return node_load(id)
end

-- The node of an agent that calls, or nil and the refusal: this registration was given up.
local function node_of(id, incarnation)
  local node = node_load(id)
  --@mark incarnation
  if node and node.incarnation == incarnation and node.state ~= 'dead' then return node end
  local state = not node and field_of(P .. 'node:' .. id, 'state')
  if state and state ~= 'dead' then -- its registration may still hold: it is to try again
    return nil, refuse('unreadable', 'the record of node ' .. id .. ' can\'t be read: `rq-sched doctor --repair` mends it')
  end
  return nil, refuse('stale_incarnation', 'node ' .. id .. ' is registered anew or given up')
end

local function node_touch(node)
  if node.touched then return end
  node.touched = true
  nodes_changed[#nodes_changed + 1] = node
end

-- The order as it is given, with its number in front (`number`: as text, where it is at hand).
local function order_add(node, text, number)
  node_touch(node)
  --@mark order_number
  node.ordered = node.ordered + 1
  local order = (number or whole(node.ordered)) .. ' ' .. text
  node.orders[#node.orders + 1] = order
  return order
end

-- What was refused because it doesn't fit: who calls has looked, so something is wrong (`doctor` tells).
local function overbooked(node, cpu, memory)
  event('overbooked', node.id, node.id, nil, cpu .. ':' .. memory)
  count('overbooked', 1)
end

-- Takes room of a node, or gives some back (negative): what is held of resources then ('' of none), or false, and nothing is
-- changed. `amounts`: of resources; nil: none. What is free changes here and in `give_back`, and nowhere else (promise 1).
local function room_take(node, cpu, memory, amounts)
  local left_cpu, left_memory = node.cpu - cpu, node.memory - memory
  if left_cpu < 0 or left_memory < 0 or left_cpu > node.total_cpu or left_memory > node.total_memory then
    overbooked(node, cpu, memory)
    return false
  end
  local held = amounts_take(node, amounts)
  if not held then
    overbooked(node, cpu, memory)
    return false
  end
  node_touch(node)
  --@mark room_taken
  node.cpu, node.memory = left_cpu, left_memory
  return held
end

-- As it stands in the ledger. `held`: beside CPU and memory; '': nothing.
local function entry_text(id, need, mark, held)
  local text = id .. ':' .. need .. ':' .. mark
  return held ~= '' and text .. ':' .. held or text
end

-- The entry of an attempt: it is assigned (`mark` a), and the room that was taken is its own; or it has begun (r).
local function entry_set(node, token, id, need, mark, held)
  node_touch(node)
  local which = mark == 'a' and 'running' or 'started'
  node[which] = node[which] + 1
  local entries = node.entries
  local n = #entries
  entries[n + 1], entries[n + 2] = token, entry_text(id, need, mark, held)
end

-- When all that runs on the node will have ended, by time limits: nil from a task without one on until the node is empty
-- again, and while it is empty. Called after `entry_set`; `limit` is the new task's, in ms.
local function node_ends(now, node, limit)
  if not limit then
    node.ends = nil
  elseif node.running == 1 then
    node.ends = now + tonumber(limit)
  elseif node.ends then
    node.ends = math.max(node.ends, now + tonumber(limit))
  end
end

-- An entry of the ledger: task id, cpu, memory, mark, and what it holds beside ('' nothing).
local function entry_parse(entry)
  local id, cpu, memory, mark = string.match(entry, '^([^:]+):(%d+):(%d+):(%a)$')
  local held = ''
  if not id then id, cpu, memory, mark, held = string.match(entry, '^([^:]+):(%d+):(%d+):(%a):(%S+)$') end
  return id, tonumber(cpu), tonumber(memory), mark, held
end

-- An end is recorded whatever the amounts say: at most all that the node has is free then.
local function give_back(node, token, cpu, memory, started, held)
  node_touch(node)
  if not amounts_give(node, held) then overbooked(node, -cpu, -memory) end
  if not room_take(node, -cpu, -memory) then
    node.cpu, node.memory = math.min(node.total_cpu, node.cpu + cpu), math.min(node.total_memory, node.memory + memory)
  end
  node.running = node.running - 1
  if node.running == 0 then node.ends = nil end
  if started then node.started = node.started - 1 end
  node.cleared[#node.cleared + 1] = token
end

-- Into the index that placing looks into: nodes that are up and not reserved.
local function node_index(node)
  if node.state == 'up' and not node.reserved then
    node.score_kept = node_score(node)
    index_enter('free', node.id, node.stands, whole(node.score_kept))
  end
end

-- A node offers itself: into the indexes, and to the schedulers.
local function node_offer(now, node)
  index_enter('totals', node.id, node.stands, whole(node.total_cpu * PY.MEMORY_STEP + node.total_memory))
  node_index(node)
  if node.ends then read('ZADD', P .. 'ends', whole(node.ends), node.id) end
  --@mark node_offered
  read('ZADD', P .. 'dirty', now, node.id)
  wake()
end

-- A node gets no more tasks: out of the indexes.
local function node_withdraw(node)
  for _, index in ipairs({ 'free', 'totals' }) do index_drop(index, node.id, node.stands) end
  for _, index in ipairs({ 'ends', 'dirty' }) do read('ZREM', P .. index, node.id) end
end

-- It takes tasks again.
local function node_resume(now, node)
  node.state = 'up'
  call('HSET', P .. 'node:' .. node.id, 'state', 'up')
  node_offer(now, node)
end

local function acknowledge(node, acked)
  if acked > node.acked and acked <= node.ordered then
    node_touch(node)
    node.trims = math.floor(acked / PY.ORDERS_KEPT) > math.floor(node.acked / PY.ORDERS_KEPT)
    node.acked = acked
  end
end

-- Orders that are acknowledged are taken out of the list now and then: those that aren't stand at its end.
local function orders_trim(node, key)
  local left = node.ordered_before - node.acked
  if left <= 0 then return read('DEL', key) end
  return read('LTRIM', key, whole(-left), '-1')
end

-- A list of another type is none: the orders in it are lost, and the agent compares with its ledger (orders.py).
local function orders_flush(node)
  local key, new = node.path .. ':orders', #node.orders > 0
  local trimmed = node.trims and orders_trim(node, key)
  local sound = type(trimmed) ~= 'table' or not trimmed.err
  if sound and new then sound = type(read('RPUSH', key, unpack(node.orders))) == 'number' end
  if sound then return end
  call('DEL', key)
  if new then call('RPUSH', key, unpack(node.orders)) end
  node.acked = node.ordered - #node.orders
end

local function amounts_flush(node)
  local before, changed, n = node.amounts_read, {}, 0
  for i = 1, #AMOUNTS do
    local amount = node[AMOUNTS[i]]
    if amount ~= before[i] then changed[n + 1], changed[n + 2], n = FIELDS[i], whole(amount), n + 2 end
  end
  if node.free_resources ~= node.resources_read then
    changed[n + 1], changed[n + 2], n = 'free_resources', node.free_resources, n + 2
  end
  if n > 0 then call('HSET', P .. 'node:' .. node.id, unpack(changed)) end
end

-- Writes each changed node once. `quiet`: the node whose agent made this call, which needs no doorbell.
local function nodes_flush(quiet)
  if #nodes_changed == 0 then return end
  for _, node in ipairs(nodes_changed) do
    if #node.cleared > 0 then read('HDEL', node.ledger, unpack(node.cleared)) end
    if #node.entries > 0 then hash_set(node.ledger, unpack(node.entries)) end
    orders_flush(node)
    amounts_flush(node)
    if #node.orders > 0 and node.id ~= quiet then -- a start that is the only new order comes with the doorbell
      local start = #node.orders == 1 and node.start_in_full
      call('PUBLISH', P .. 'bell:' .. node.id, start and node.incarnation .. ' ' .. start or whole(node.ordered))
    end
    if node.ends ~= node.ends_read then
      if node.ends then
        call('HSET', P .. 'node:' .. node.id, 'ends', whole(node.ends))
        if node.state == 'up' then read('ZADD', P .. 'ends', whole(node.ends), node.id) end
      else
        call('HDEL', P .. 'node:' .. node.id, 'ends')
        read('ZREM', P .. 'ends', node.id)
      end
    end
    if node_score(node) ~= node.score_kept then node_index(node) end
  end
  nodes_seen, nodes_changed = {}, {}
end
