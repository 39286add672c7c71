--@include _base
-- Labels: what nodes carry and tasks require, both written as at the end of a class's name: sorted, `+gpu+ssd` ('' none).
-- A node stands in the indexes `free` and `totals`, and with the same score in `free:LABEL` and `totals:LABEL` of each
-- label that it carries. What requires one label is looked for in the index of that label as anything else in `free`; for
-- several, in that of the one which fewest nodes carry, and a node must stand in those of the others as well.

local LABEL = '%+([^+]+)'
local NO_OTHERS = {}

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

-- The indexes in which a node that carries all that is required stands.
local function indexes_of(name, required)
  if required == '' then return NO_OTHERS end
  local keys = {}
  for label in string.gmatch(required, LABEL) do keys[#keys + 1] = P .. name .. ':' .. label end
  return keys
end

-- The one of them to look into, and the others, in which a node must stand as well.
local function index_for(name, required)
  if required == '' then return P .. name, NO_OTHERS end
  local others, fewest, at = indexes_of(name, required), nil, nil
  for i, key in ipairs(others) do
    local nodes = call('ZCARD', key)
    if not fewest or nodes < fewest then fewest, at = nodes, i end
  end
  return table.remove(others, at), others
end

-- Of these nodes, the set of those that stand in all the others; nil where there are no others.
local function standing(others, ids)
  if #others == 0 or #ids == 0 then return nil end
  local set = {}
  for _, id in ipairs(ids) do set[id] = true end
  for _, key in ipairs(others) do
    local scores = call('ZMSCORE', key, unpack(ids))
    for i, id in ipairs(ids) do
      if not scores[i] then set[id] = nil end
    end
  end
  return set
end

-- The same of nodes with their scores, as ZRANGE gives them.
local function only_in(others, found)
  if #others == 0 then return found end
  local ids, kept = {}, {}
  for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
  local set = standing(others, ids)
  for i = 1, #found, 2 do
    if set[found[i]] then kept[#kept + 1], kept[#kept + 2] = found[i], found[i + 1] end
  end
  return kept
end
