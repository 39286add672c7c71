-- Placing: giving pending tasks an allocation and an order (pending → assigned).
--@include _first_fit
--@include _limited
--@include _surplus
--@include _aside
--@include _reservation

local MOST_READ = 32 -- records that are read at once for those that are placed next

local done_so_far = { placings = 0, looks = 0 } -- by this script; looks: at heads that may end in time for a reservation

-- The request of the head of a class, where it still waits; nil: there is none, or it is elsewhere. What is read for it is
-- read for as many of those behind it as the node has room for.
local function head_request(node, class, id, array, member)
  if array then return element_text(array, string.sub(member, 1, PY.SEQUENCE)) end
  local text = request_waiting(id)
  if text == nil then
    local most = 1
    local fit = math.min(math.floor(room_cpu(node) / math.max(1, class.cpu)), math.floor(node.memory / class.memory), MOST_READ)
    if fit > 1 and (class.moved or is_alone(class)) then most = fit end
    records_fetch(most > 1 and ids_ahead(class, most) or { id })
    text = request_waiting(id)
  end
  return text
end

-- A task gets the room that was allocated for it on the node, and an order to start; with `orders`, that is added there in
-- full, else it is kept for the doorbell, where it is the only one. `request`: what is rare of it; `held`: what else it got.
local function attempt_place(now, nonce, node, class, orders, score, member, text, watch, request, held)
  local id, limit = string.sub(member, PY.SEQUENCE + 1), request.time_limit
  done_so_far.placings = done_so_far.placings + 1
  -- With the order's number: nonces come again (a driver sends a call twice; 32 bits), and a node takes a token that it
  -- has seen before for an old order.
  local order = whole(node.ordered + 1)
  local token = nonce .. '.' .. whole(done_so_far.placings) .. '.' .. order
  local number = request.attempts and whole(request.attempts + 1) or '1'
  entry_set(node, token, id, class.need.size, 'a', held)
  if node.reserved and reservation() then reservation_used(now, token, score, member, class) end
  local amounts = held ~= '' and string.match(' ' .. held .. ';@', '^(.-) ?;?@') or '' -- no limits
  order = order_add(node, 'start ' .. token .. ' ' .. id .. amounts, order)
  if orders or #node.orders == 1 then
    local full = string.sub(order, 1, -1 - #amounts) .. ' ' .. number .. amounts .. '\n' .. text -- as of orders_read()
    if orders then orders[#orders + 1] = full else node.start_in_full = full end
  end
  if request.expires then read('ZREM', P .. 'expiring', id) end
  node_ends(now, node, limit)
  if request.preemptible then read('ZADD', P .. 'preemptible', tonumber(request.priority) or 0, token .. ' ' .. node.id) end
  attempt_begin(id, token, node.place, stamp(now), number, watch, request)
  event('placed', id, node.id, number)
end

-- Puts the head of `class`, as class_peek() has shown it, on `node`. False: it can't be placed by anyone, and was set aside.
-- Nil, and nothing is changed: it doesn't fit.
local function assign(now, nonce, node, class, orders, score, member, array)
  local id = string.sub(member, PY.SEQUENCE + 1)
  local text = head_request(node, class, id, array, member)
  local name, watch, request = request_read(text or '')
  local sound = not (request.attempts and not whole_of(request.attempts) or request.time_limit and not whole_of(request.time_limit)
    or request.expires and not whole_of(request.expires))
  if request.state or request.left or name ~= class.name or not sound or not names_task(id) then
    head_aside(now, class, id, score, member)
    return false
  end
  --@mark expired
  if request.expires and tonumber(request.expires) <= now then
    head_expired(now, class, id, array)
    return false
  end
  local held = allocate(node, class, orders)
  if not held then return nil end
  class_take(class, score, member, array)
  if array then request_put(id, text) end
  attempt_place(now, nonce, node, class, orders, score, member, text, watch, request, held)
  return true
end

local HEADS = 64 -- examined in one script for a task that ends in time

-- The first of those that fit and may use the node, which is reserved: tasks that are later than the one it is reserved for
-- may have what is spare, or must end in time.
local function first_allowed(now, node, reserved)
  local cpu, memory = room_cpu(node), node.memory
  if not node.only_later then
    local class = first_fit(cpu, memory, carrier(node))
    if not class or not is_later(class_peek(class)) then return class end
    node.only_later = true -- what is free only shrinks: from here on nothing earlier fits
  end
  if reserved.expected and done_so_far.looks < HEADS then
    first_fit_reset()
    local class = first_fit(cpu, memory, carrier(node), function(score, member, one)
      done_so_far.looks = done_so_far.looks + 1
      return done_so_far.looks >= HEADS or may_use(now, score, member, one)
    end)
    if done_so_far.looks < HEADS then return class end
    first_fit_reset()
  end
  if reserved.cpu < 1 and not node.drivers then return nil end
  return first_fit(math.min(cpu, reserved.cpu), math.min(memory, reserved.memory), carrier_of_spare(node))
end

-- Gives the node the earliest tasks that fit, until none does or `limit` is reached. Returns how many, and whether
-- the node was left with work undone (it then stands in `dirty`).
local function fill(now, nonce, node, limit, orders)
  local placed, tried = 0, 0
  if node.state ~= 'up' then return 0, false end
  first_fit_reset()
  local class
  while tried < limit do
    if is_full(node) then return placed, false end
    local reserved, again = node.reserved and reservation(), false
    if reserved then
      class = first_allowed(now, node, reserved)
    else
      again = class and class.cpu <= room_cpu(node) and class.memory <= node.memory and not class.limits
        and has_amounts(node, class.need.amounts) and is_alone(class)
      --@mark room_looked_at
      if not again then class = first_fit(room_cpu(node), node.memory, carrier(node)) end
    end
    if not class then return placed, false end
    tried = tried + 1
    local score, member, array = class_peek(class)
    if not score then
      if again then return placed, false end -- nothing waits any more
      heads_mend(class)
      break
    end
    local done = assign(now, nonce, node, class, orders, score, member, array)
    if done == nil then return placed, false end
    if done then placed = placed + 1 end
    if reserved and not node.reserved then first_fit_reset() end -- the task it was reserved for is there
  end
  if is_full(node) then return placed, false end -- full: nothing is left undone
  --@mark work_left
  read('ZADD', P .. 'dirty', now, node.id)
  return placed, true
end

-- The same for who has done something else that must be written whatever others' records say: what goes wrong here is
-- logged, and left to the schedulers. Returns as well whether something did: then it would again, at once.
local function fill_safely(now, nonce, node, limit, orders)
  local well, placed, undone = pcall(fill, now, nonce, node, limit, orders)
  if well then return placed, undone, false end
  event('damaged', node.id, node.id, nil, legible(type(placed) == 'table' and placed.err or tostring(placed)))
  read('ZADD', P .. 'dirty', now, node.id)
  return 0, true, true
end
