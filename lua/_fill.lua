-- Placing: giving pending tasks an allocation and an order (pending → assigned).
--@include _first_fit
--@include _surplus
--@include _aside
--@include _reservation

local ORDER_FIELDS = { 'k', 'u', 'f', 'a', 'ax', 'c', 'X', 'Y', 'l', 'e', 'h', 'v', 'p', 'O', 's' }

-- A start order as the agent gets it, from the record's ORDER_FIELDS; `attempt`: the number of the attempt, where the record
-- doesn't say it yet. (order_records.py reads it by the same names, in this order.)
local function start_order(number, token, task_id, record, attempt)
  local _, used, target, arguments, payload_bytes, task_class, max_cpu, max_memory, time_limit, elastic, released, _, _, alone =
    unpack(record, 1, #ORDER_FIELDS)
  return {
    number, 'start', token, task_id, attempt or used or '1', target, arguments or '', payload_bytes or '0', task_class,
    max_cpu or '', max_memory or '', time_limit or '', alone and 'off' or released or elastic or 'cpu',
  }
end

-- What an order is made of: read from the record; for an element that is made just now, what its array shares.
local function order_record(key, array)
  if not array then return read('HMGET', key, unpack(ORDER_FIELDS)) end
  local _, shared = element_record(array, '')
  local record = {}
  for i, name in ipairs(ORDER_FIELDS) do record[i] = shared[name] end
  return record
end

local placings = 0

-- What is written of an attempt: the token and the place come from here, the rest from the record.
local function begun(now, node, key, id, member, array, token, attempt)
  local attempt_text = whole(attempt)
  if array then
    local record = element_record(array, string.sub(member, 1, PY.SEQUENCE))
    hash_set(key, unpack(record)) -- what is of another type is nobody's, under an element's name
  end
  call('HSET', key, 's', 'assigned', 'u', attempt_text, 'k', token, 'i', node.place, 'T', stamp(now))
  event('placed', id, node.id, attempt_text)
end

-- Puts the head of `class` on `node`; with `orders`, the node's orders are added there in full. False: it can't be
-- placed by anyone, and was set aside. Nil, and nothing is changed: it doesn't fit.
local function assign(now, nonce, node, class, orders)
  local score, member, array = class_peek(class)
  local id = string.sub(member, PY.SEQUENCE + 1)
  local key = P .. 'task:' .. id
  local record, used, name, limit, preemptible, priority, state, _
  if orders or array then
    record = order_record(key, array)
    _, used, _, _, _, name, _, _, limit, _, _, preemptible, priority, _, state = unpack(record, 1, #ORDER_FIELDS)
  else
    used, preemptible, priority, limit, state, name = unpack(read('HMGET', key, 'u', 'v', 'p', 'l', 's', 'c'))
  end
  local attempt = not used and 0 or whole_of(used)
  if state or name ~= class.name or not attempt or (limit and not whole_of(limit)) or not names_task(id) then
    head_aside(now, class, id, score, member)
    return false
  end
  if not allocate(node, class, orders) then return nil end
  class_take(class, score, member, array)
  attempt = attempt + 1
  placings = placings + 1
  -- With the order's number: nonces come again (a driver sends a call twice; 32 bits), and a node takes a token that it
  -- has seen before for an old order.
  local token = nonce .. '.' .. whole(placings) .. '.' .. whole(node.ordered + 1)
  entry_add(node, token, id, class.need)
  if node.reserved and reservation() then reservation_used(now, token, score, member, class) end
  local number = order_add(node, 'start ' .. token .. ' ' .. id)
  if orders then orders[#orders + 1] = start_order(number, token, id, record, attempt) end
  node_ends(now, node, limit)
  if preemptible then read('ZADD', P .. 'preemptible', tonumber(priority) or 0, token .. ' ' .. node.id) end
  begun(now, node, key, id, member, array, token, attempt)
  return true
end

local HEADS = 64 -- examined in one script for a task that ends in time
local heads_examined = 0

-- The first of those that fit and may use the node, which is reserved: tasks that are later than the one it is reserved for
-- may have what is spare, or must end in time.
local function first_allowed(now, node, reserved)
  local cpu, memory = room_cpu(node), node.memory
  if not node.only_later then
    local class = first_fit(cpu, memory, carrier(node))
    if not class or not is_later(class_peek(class)) then return class end
    node.only_later = true -- what is free only shrinks: from here on nothing earlier fits
  end
  if reserved.expected and heads_examined < HEADS then
    first_fit_reset()
    local class = first_fit(cpu, memory, carrier(node), function(score, member, one)
      heads_examined = heads_examined + 1
      return heads_examined >= HEADS or may_use(now, score, member, one)
    end)
    if heads_examined < HEADS then return class end
    first_fit_reset()
  end
  return first_fit(math.min(cpu, reserved.cpu), math.min(memory, reserved.memory), carrier(node))
end

-- Gives the node the earliest tasks that fit, until none does or `limit` is reached. Returns how many, and whether
-- the node was left with work undone (it then stands in `dirty`).
local function fill(now, nonce, node, limit, orders)
  local placed, tried = 0, 0
  if node.state ~= 'up' then return 0, false end
  first_fit_reset()
  while tried < limit do
    local reserved = node.reserved and reservation()
    local class
    if reserved then
      class = first_allowed(now, node, reserved)
    else
      --@mark room_looked_at
      class = first_fit(room_cpu(node), node.memory, carrier(node))
    end
    if not class then return placed, false end
    tried = tried + 1
    if not class_peek(class) then
      heads_mend(class)
      break
    end
    local done = assign(now, nonce, node, class, orders)
    if done == nil then return placed, false end
    if done then placed = placed + 1 end
    if reserved and not node.reserved then first_fit_reset() end -- the task it was reserved for is there
  end
  if room_cpu(node) < 1 or node.memory < 1 then return placed, false end -- full: nothing is left undone
  --@mark work_left
  read('ZADD', P .. 'dirty', now, node.id)
  return placed, true
end

-- The same for who has done something else that must be written whatever others' records say: what goes wrong here is
-- logged, and left to the schedulers.
local function fill_safely(now, nonce, node, limit, orders)
  local well, placed, undone = pcall(fill, now, nonce, node, limit, orders)
  if well then return placed, undone end
  event('damaged', node.id, node.id, nil, legible(type(placed) == 'table' and placed.err or tostring(placed)))
  read('ZADD', P .. 'dirty', now, node.id)
  return 0, true
end
