--@include _check
-- Labels: what nodes carry and tasks require, both written as at the end of a class's name: sorted, `+gpu+ssd` ('' none).
-- A node stands in the indexes `free` and `totals`, and with the same score in `free:LABEL` and `totals:LABEL` of each
-- label that it carries.

local LABEL = '%+([^+]+)'

-- Tells whether a node with these labels carries all that is required; asked often, so that answers are kept.
local function carrier(labels)
  local known = {}
  return function(required)
    if known[required] == nil then
      known[required] = true
      for label in string.gmatch(required, LABEL) do
        if not string.find(labels .. '+', '+' .. label .. '+', 1, true) then known[required] = false end
      end
    end
    return known[required]
  end
end

-- Enters a node into `free` or `totals`, and into the same of each of its labels.
local function index_enter(name, id, labels, score)
  call('ZADD', P .. name, score, id)
  if labels == '' then return end
  for label in string.gmatch(labels, LABEL) do call('ZADD', P .. name .. ':' .. label, score, id) end
end

local function index_drop(name, id, labels)
  call('ZREM', P .. name, id)
  for label in string.gmatch(labels, LABEL) do call('ZREM', P .. name .. ':' .. label, id) end
end
