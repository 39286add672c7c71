--@include _ledger
--@include _limits
--@include _record
-- Allocations that change while their task runs. CPU that an elastic attempt holds beyond its need is surplus
-- (node:…:grown, token → cores): it counts as free, and is taken back in the script that gives it to another.
-- Changes are written at once: a script may look at an allocation again.

-- False, and nothing is changed, where it doesn't fit.
local function allocation_set(node, token, entry, cpu, memory)
  --@mark resize
  if not room_take(node, cpu - entry.cpu, memory - entry.memory) then return false end
  entry.cpu, entry.memory = cpu, memory
  hash_set(node.ledger, token, entry_text(entry.id, cpu .. ':' .. memory, entry.mark, entry.held))
  attempt_change(entry.id, { allocated = cpu .. ':' .. memory })
  event('resized', entry.id, node.id, nil, cpu .. ':' .. memory)
  return true
end

-- How much of an attempt's CPU is surplus from now on.
local function surplus_set(node, token, cores)
  local grown = node.path .. ':grown'
  local known = read('HGET', grown, token)
  local before = type(known) == 'string' and whole_of(known) or 0
  if cores == before then return end
  node_touch(node)
  node.surplus = node.surplus + cores - before
  if cores > 0 then hash_set(grown, token, cores) else call('HDEL', grown, token) end
end

-- With `orders`, it is added there in full: a reply that left it out would have it acknowledged unseen.
local function resize_order(node, token, entry, orders)
  local allocation = entry.cpu .. ':' .. entry.memory
  local text = order_add(node, 'resize ' .. token .. ' ' .. entry.id .. ' ' .. allocation)
  --@mark orders_in_full
  if orders then orders[#orders + 1] = text end
end

local function allocation_of(node, token)
  local known = read('HGET', node.ledger, token)
  local id, cpu, memory, mark, held = entry_parse(type(known) == 'string' and known or '')
  return id and { id = id, cpu = cpu, memory = memory, mark = mark, held = held } or nil
end

-- Takes so many cores back, from those first that have most beyond their need; `orders`: as of resize_order.
local function reclaim(node, cores, orders)
  local flat = read('HGETALL', node.path .. ':grown')
  local donors = {}
  for i = 1, #flat, 2 do donors[#donors + 1] = { token = flat[i], surplus = whole_of(flat[i + 1]) or 0 } end
  table.sort(donors, function(a, b)
    return a.surplus > b.surplus or (a.surplus == b.surplus and a.token < b.token)
  end)
  for _, donor in ipairs(donors) do
    if cores <= 0 then return end
    local entry = allocation_of(node, donor.token)
    local part = entry and math.min(cores, donor.surplus, entry.cpu - 1) or 0
    if part > 0 and allocation_set(node, donor.token, entry, entry.cpu - part, entry.memory) then
      surplus_set(node, donor.token, donor.surplus - part)
      resize_order(node, donor.token, entry, orders)
      cores = cores - part
    end
  end
end

-- The room for a need, on the node and of its limits: all or nothing, and before anything else is changed for it. What is held
-- beside CPU and memory then ('' nothing); false: there is no room. `orders`: as of resize_order.
local function allocate(node, class, orders)
  if class.limits and limit_full(class.limits) then return false end
  if class.cpu > node.cpu and node.surplus > 0 and has_amounts(node, class.need.amounts) then reclaim(node, class.cpu - node.cpu, orders) end
  local held = room_take(node, class.cpu, class.memory, class.need.amounts)
  if not held or not class.limits then return held end
  limits_take(class.limits, class.member)
  return (held ~= '' and held .. ';' or '') .. limits_held(class.limits)
end

-- What follows from an attempt's end, beside its allocation: its surplus, and its place among those that may be stopped.
local function attempt_gone(node, token, preemptible)
  if node.surplus > 0 then surplus_set(node, token, 0) end
  if preemptible then read('ZREM', P .. 'preemptible', token .. ' ' .. node.id) end
end
