--@include _check
--@include _required
--@include _resources
-- Labels: what nodes carry and tasks require, both written as at the end of a class's name: sorted, `+gpu+ssd` ('' none).
-- A node stands in the indexes `free` and `totals`, and with the same score in `free:LABEL` and `totals:LABEL` of each
-- label that it carries, and in `free:*NAME` and `totals:*NAME` of each resource that it has.
-- What is required may also name registrations that have refused a task (_required): such a class isn't put there.

local LABEL = '%+([^+*@!]+)'
local STANDS = '([+*])([^+*@!=]+)' -- a label, or a resource: for each a node stands in an index

-- Whether a node carries the labels in this, and hasn't refused it, by its place (NODE:INCARNATION).
local function carries_labels(node, required)
  --@mark refused_before
  local carries = not string.find(required .. '!', '!' .. node.place .. '!', 1, true)
  for label in string.gmatch(required, LABEL) do
    if not string.find(node.labels .. '+', '+' .. label .. '+', 1, true) then carries = false end
  end
  return carries
end

-- Tells whether a node may have what requires this now; asked often, so that answers are kept. What is free of resources only
-- shrinks while a node is filled: then `no` stays true, and `yes` is asked again.
local function carrier(node)
  if node.carries then return node.carries end
  local known = {}
  node.carries = function(required)
    if known[required] == nil then known[required] = carries_labels(node, required) end
    local amounts = known[required] and amounts_required(required)
    if amounts and not has_amounts(node, amounts) then known[required] = false end
    return known[required]
  end
  return node.carries
end

-- Whether it could have it, were it empty.
local function could_carry(node, required)
  return carries_labels(node, required) and has_amounts(node, amounts_required(required), true)
end

-- What stands in an index of its own: a label LABEL, a resource *NAME.
local function index_names(stands)
  local names = {}
  for sign, name in string.gmatch(stands, STANDS) do names[#names + 1] = ':' .. (sign == '*' and '*' or '') .. name end
  return names
end

-- Enters a node into `free` or `totals`, and into the same of each label and resource in `stands`.
local function index_enter(name, id, stands, score)
  read('ZADD', P .. name, score, id)
  if stands == '' then return end
  --@mark label_entered
  for _, own in ipairs(index_names(stands)) do read('ZADD', P .. name .. own, score, id) end
end

local function index_drop(name, id, stands)
  read('ZREM', P .. name, id)
  --@mark label_left
  for _, own in ipairs(index_names(stands)) do read('ZREM', P .. name .. own, id) end
end
