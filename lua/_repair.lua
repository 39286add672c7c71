--@include _ledger
--@include _record
--@include _commit
-- Putting right what doesn't add up. Everything is looked at again in the script that mends it: what is in order is
-- never written to, so that a repair may run at any time, any number of times.

local done = {} -- what was done, in words

local function did(text)
  done[#done + 1] = text
end

local function key_type(key)
  local found = call('TYPE', key)
  return type(found) == 'table' and found.ok or found
end

-- A score in an index as it should be (nil: not in it).
local function index_set(index, member, right)
  local score = tonumber(call('ZSCORE', P .. index, member) or nil)
  if score == right then return false end
  if right then call('ZADD', P .. index, right, member) else call('ZREM', P .. index, member) end
  did(index .. (right and ': entered' or ': entry dropped'))
  return true
end

-- The head of a class stands in an index of heads, and is offered to the schedulers where it didn't.
local function head_set(index, score, head)
  if tonumber(read('ZSCORE', index, head) or nil) == score then return end
  call('ZADD', index, score, head)
  call('ZADD', P .. 'fresh', score, head)
  wake()
  did('head entered')
end

local function stop_order(node_id, token, id)
  local key = P .. 'node:' .. node_id
  local number = call('HINCRBY', key, 'ordered', 1)
  local incarnation = call('HGET', key, 'incarnation')
  call('RPUSH', key .. ':' .. incarnation .. ':orders', number .. ' stop ' .. token .. ' ' .. id .. ' 0')
  call('PUBLISH', P .. 'bell:' .. node_id, number)
end

-- What the ledger holds: CPU, memory, entries, those started at least and at most, the orders that must be there, and the last
-- number that an attempt was ordered by.
local function ledger_sum(path)
  local sum = { cpu = 0, memory = 0, held = {}, entries = 0, started = 0, stopping = 0, orders = {}, last = 0 }
  local flat = call('HGETALL', path .. ':tasks')
  for i = 1, #flat, 2 do
    local id, cpu, memory, mark, held = entry_parse(flat[i + 1])
    if not id or not is_id(flat[i]) then
      call('HDEL', path .. ':tasks', flat[i])
      did('an entry of the ledger that says nothing dropped')
    else
      if held ~= '' then sum.held[#sum.held + 1] = held end
      sum.cpu, sum.memory, sum.entries = sum.cpu + cpu, sum.memory + memory, sum.entries + 1
      local attempt = attempt_of(id)
      if attempt and attempt.token ~= flat[i] then attempt = nil end
      sum.last = math.max(sum.last, attempt and whole_of(string.match(flat[i], '%d+$')) or 0)
      if mark == 'r' then sum.started = sum.started + 1 end
      if mark == 's' then
        if attempt and attempt.started then sum.stopping = sum.stopping + 1 end
        sum.orders[#sum.orders + 1] = 'stop ' .. flat[i] .. ' ' .. id .. ' 10000'
      elseif mark == 'a' then
        sum.orders[#sum.orders + 1] = 'start ' .. flat[i] .. ' ' .. id .. string.match(' ' .. held .. ';@', '^(.-) ?;?@') -- no limits
      end
    end
  end
  return sum
end

-- CPU beyond need of elastic attempts; entries of attempts that are over go.
local function surplus_sum(path)
  local sum = 0
  local flat = call('HGETALL', path .. ':grown')
  for i = 1, #flat, 2 do
    if call('HEXISTS', path .. ':tasks', flat[i]) == 1 then
      sum = sum + (tonumber(flat[i + 1]) or 0)
    else
      call('HDEL', path .. ':grown', flat[i])
      did('surplus of an attempt that is over dropped')
    end
  end
  return sum
end

local NODE_FIELDS = { 'state', 'incarnation', 'total_cpu', 'total_memory', 'free_cpu', 'free_memory', 'running', 'started',
  'ordered', 'acked', 'ttl', 'ends', 'surplus', 'reserved', 'drain', 'labels', 'fault', 'has', 'resources', 'free_resources' }
local NODE_TEXTS = { state = true, incarnation = true, reserved = true, drain = true, labels = true, fault = true, has = true,
  resources = true, free_resources = true }

local NODE_DEFAULTS = { ordered = 0, acked = 0, ttl = TTL, surplus = 0, started = 0, running = 0 }

local function node_read(id)
  local r = call('HMGET', P .. 'node:' .. id, unpack(NODE_FIELDS))
  local node = {}
  for i, name in ipairs(NODE_FIELDS) do
    node[name] = r[i] or nil
    if not NODE_TEXTS[name] then node[name] = whole_of(r[i]) end
    if r[i] and node[name] == nil and NODE_DEFAULTS[name] then -- no number
      node[name] = NODE_DEFAULTS[name]
      call('HSET', P .. 'node:' .. id, name, node[name])
      did(name .. ' -> ' .. node[name] .. ': it was no number')
    elseif r[i] and node[name] == nil and name == 'ends' then
      call('HDEL', P .. 'node:' .. id, 'ends')
      did('ends dropped: it was no number')
    end
  end
  return node
end

local function field_set(id, node, name, right)
  if node[name] == right then return false end
  call('HSET', P .. 'node:' .. id, name, right)
  did(name .. ' ' .. tostring(node[name]) .. ' -> ' .. tostring(right))
  node[name] = right
  return true
end

-- Whether the record says what only the worker knows: who it is, what it has, what it carries.
local function is_known(node)
  if not node.incarnation or (node.total_cpu or 0) < 1 or (node.total_memory or 0) < 1 then return false end
  if node.state == 'dead' then return true end
  if not find(node.incarnation, ID) or not node.labels or not are_labels(node.labels) then return false end
  local has = whole(node.total_cpu) .. ':' .. whole(node.total_memory) .. node.labels
  return not node.has or node.has == (node.resources and has .. ' ' .. node.resources or has)
end

-- What is free of its resources beside all that the ledger holds, as text ('' none); nil: it can't be, or can't be read.
local function resources_left(node, held)
  local resources = resources_parse(node.resources or '')
  for _, one in ipairs(resources and held or {}) do
    held_each(one, function(name, index, number)
      local own = resources and resources.of[name]
      local left = own and (index and own.left[index] or not index and not own.indexes and own.free)
      if not left or number > left then
        resources = nil
        return
      end
      own.free = own.free - number
      if index then own.left[index] = left - number end
    end)
  end
  return resources and resources_text(resources)
end

-- Whether it was wrong. (That of a node that is dead nobody reads.)
local function resources_set(id, node, free)
  if node.state == 'dead' or node.free_resources == (free ~= '' and free or nil) then return false end
  if free ~= '' then return field_set(id, node, 'free_resources', free) end
  call('HDEL', P .. 'node:' .. id, 'free_resources')
  did('what is free of no resources dropped')
  node.free_resources = nil
  return true
end

-- The record doesn't say it, or the amounts can't be made to add up: the registration is given up, its tasks go back to their places, and its worker
-- registers anew with what it really has.
local function node_give_up(id, node, sum)
  did('its registration given up: its tasks go back to their places, its worker registers anew')
  node.state = 'dead'
  call('HSET', P .. 'node:' .. id, 'state', 'dead', 'total_cpu', math.max(node.total_cpu or 0, sum.cpu),
    'total_memory', math.max(node.total_memory or 0, sum.memory))
  node.total_cpu, node.total_memory = math.max(node.total_cpu or 0, sum.cpu), math.max(node.total_memory or 0, sum.memory)
  call('DEL', P .. 'node:' .. id .. ':alive')
  if node.incarnation and find(node.incarnation, ID) and sum.entries > 0 then call('SADD', P .. 'lost', id .. ':' .. node.incarnation .. ':left') end
  event('dead', id, id)
  wake()
end

-- Orders that were lost: all that may still be wanted are given again; an agent knows by the token what it has done. They come
-- behind all that were given: one whose number an agent has passed it takes for one that it has had.
local function orders_again(id, path, node, sum)
  local oldest, newest = unpack(read('LRANGE', path .. ':orders', 0, 0)), unpack(read('LRANGE', path .. ':orders', -1, -1))
  local last = math.max(sum.last, whole_of(string.match(newest or '', '^(%d+) %a')) or 0)
  if (node.ordered or 0) < last then field_set(id, node, 'ordered', last) end
  if not node.acked then field_set(id, node, 'acked', 0) end
  local trimmed = node.ordered - call('LLEN', path .. ':orders') -- how many orders are no longer kept
  local first = oldest and whole_of(string.match(oldest, '^(%d+) %a'))
  local kept = trimmed <= node.acked and trimmed >= node.acked - node.acked % PY.ORDERS_KEPT
  if oldest and first == trimmed + 1 and kept or not oldest and trimmed == node.acked then return end
  local number = node.ordered or 0
  call('DEL', path .. ':orders')
  call('HSET', P .. 'node:' .. id, 'acked', number, 'ordered', number + #sum.orders)
  for i, text in ipairs(sum.orders) do call('RPUSH', path .. ':orders', number + i .. ' ' .. text) end
  call('PUBLISH', P .. 'bell:' .. id, number + #sum.orders)
  did('orders given again: ' .. #sum.orders)
end

-- In `free` and `totals`, and in the same of each label and resource that it has; of those `found` it isn't in others.
local function room_indexes(id, node, found)
  local up = node.state == 'up'
  local names, kinds = resource_names(node.free_resources or '')
  local room = kinds * PY.KIND_STEP + (node.free_cpu + (node.surplus or 0)) * PY.MEMORY_STEP + node.free_memory
  local total = node.total_cpu * PY.MEMORY_STEP + node.total_memory
  local own, offered = { [''] = true }, false
  for _, name in ipairs(index_names((node.labels or '') .. names)) do own[name] = true end
  for name in pairs(own) do
    offered = index_set('free' .. name, id, up and not node.reserved and room or nil) or offered
    index_set('totals' .. name, id, up and total or nil)
  end
  for _, name in ipairs(found) do
    if not own[':' .. name] then
      index_set('free:' .. name, id, nil)
      index_set('totals:' .. name, id, nil)
    end
  end
  return offered and up
end

local function node_indexes(now, id, node, found)
  local up, alive = node.state == 'up', node.state ~= 'dead'
  local heartbeat = tonumber(call('ZSCORE', P .. 'nodes', id) or nil)
  index_set('nodes', id, alive and (heartbeat or now + (node.ttl or TTL)) or nil)
  index_set('gone', id, not alive and (tonumber(call('ZSCORE', P .. 'gone', id) or nil) or now) or nil)
  index_set('ends', id, up and node.ends or nil)
  if not up and call('ZREM', P .. 'dirty', id) == 1 then did('dirty: entry dropped') end
  return room_indexes(id, node, found)
end

local function out_of_indexes(id, found)
  for _, index in ipairs({ 'nodes', 'gone', 'free', 'totals', 'ends', 'dirty' }) do index_set(index, id, nil) end
  for _, label in ipairs(found) do
    index_set('free:' .. label, id, nil)
    index_set('totals:' .. label, id, nil)
  end
end

-- One of its states; a fault only where it is faulty, or draining besides. (Its agent reports a fault again that was lost.)
local function node_state(id, node)
  local state, alive = node.state, call('ZSCORE', P .. 'nodes', id)
  local known = state == 'up' or state == 'draining' or state == 'dead' or (state == 'faulty' and node.fault)
  if not known then
    field_set(id, node, 'state', alive and (node.drain and 'draining' or node.fault and 'faulty' or 'up') or 'dead')
  end
  if node.fault and node.state ~= 'faulty' and node.state ~= 'draining' then
    call('HDEL', P .. 'node:' .. id, 'fault')
    node.fault = nil
    did('a fault that there isn\'t dropped')
  end
end

-- A node's amounts from its ledger, its indexes from its record. `found`: labels and resources in whose indexes it seems to stand.
local function node_recompute(now, id, found)
  local key = P .. 'node:' .. id
  found = found or {}
  if key_type(key) ~= 'hash' then return out_of_indexes(id, found) end
  local node = node_read(id)
  local path = key .. ':' .. (node.incarnation or '')
  local sum = ledger_sum(path)
  node_state(id, node)
  local cpu, memory = (node.total_cpu or 0) - sum.cpu, (node.total_memory or 0) - sum.memory
  local free = resources_left(node, sum.held)
  if not is_known(node) or cpu < 0 or memory < 0 or not free then
    node_give_up(id, node, sum)
    cpu, memory = node.total_cpu - sum.cpu, node.total_memory - sum.memory
  end
  local changed = field_set(id, node, 'free_cpu', cpu)
  changed = field_set(id, node, 'free_memory', memory) or changed
  changed = resources_set(id, node, free) or changed
  field_set(id, node, 'running', sum.entries)
  if not node.started or node.started < sum.started or node.started > sum.started + sum.stopping then
    field_set(id, node, 'started', sum.started + sum.stopping)
  end
  changed = field_set(id, node, 'surplus', surplus_sum(path)) or changed
  if node.reserved and call('HGET', P .. 'reservation', 'node') ~= id then
    call('HDEL', key, 'reserved')
    node.reserved = nil
    did('a reservation that there isn\'t dropped')
  end
  if node_indexes(now, id, node, found) or (changed and node.state == 'up') then
    call('ZADD', P .. 'dirty', now, id)
    wake()
  end
  if node.state ~= 'dead' then orders_again(id, path, node, sum) end
end

local function repaired(now)
  commit(now)
  return table.concat(done, '; ')
end
