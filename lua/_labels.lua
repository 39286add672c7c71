--@include _check
--@include _required
-- Labels: what nodes carry and tasks require, both written as at the end of a class's name: sorted, `+gpu+ssd` ('' none).
-- A node stands in the indexes `free` and `totals`, and with the same score in `free:LABEL` and `totals:LABEL` of each
-- label that it carries.
-- What is required may also name registrations that have refused a task (_required): such a class isn't put there.

-- Tells whether a node may have what requires this, by its labels and its place (NODE:INCARNATION); asked often, so that
-- answers are kept.
local function carrier(node)
  if node.carries then return node.carries end
  local known, labels = {}, node.labels
  node.carries = function(required)
    if known[required] == nil then
      --@mark refused_before
      known[required] = not string.find(required .. '!', '!' .. node.place .. '!', 1, true)
      for label in string.gmatch(required, LABEL) do
        if not string.find(labels .. '+', '+' .. label .. '+', 1, true) then known[required] = false end
      end
    end
    return known[required]
  end
  return node.carries
end

-- Enters a node into `free` or `totals`, and into the same of each of its labels.
local function index_enter(name, id, labels, score)
  read('ZADD', P .. name, score, id)
  if labels == '' then return end
  --@mark label_entered
  for label in string.gmatch(labels, LABEL) do read('ZADD', P .. name .. ':' .. label, score, id) end
end

local function index_drop(name, id, labels)
  read('ZREM', P .. name, id)
  --@mark label_left
  for label in string.gmatch(labels, LABEL) do read('ZREM', P .. name .. ':' .. label, id) end
end
