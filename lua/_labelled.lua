--@include _ledger
-- Finding nodes by what is required. One label: they are looked for in its index as others are in `free` or `totals`. Several:
-- in the index of the one which fewest nodes carry, and a node must stand in those of the others as well. Resources have indexes
-- as labels do; whether there is enough of them is looked at node by node. Nodes that have refused are passed over.

local NO_OTHERS = {}

-- The nodes that have refused, and are still registered as they were then; nil: none.
local function refused_by(required)
  local set
  for _, id, incarnation in string.gmatch(required, REFUSED) do
    local node = node_load(id)
    if node and node.incarnation == incarnation then
      set = set or {}
      set[id] = true
    end
  end
  return set
end

-- The indexes in which a node that carries all that is required stands; `refused`: nodes that may not have it all the same;
-- `amounts`: of which it must have enough, where `empty` when nothing runs there.
local function indexes_of(name, required, empty)
  if required == '' then return NO_OTHERS end
  local keys = { refused = refused_by(required), amounts = amounts_required(required), empty = empty }
  for _, own in ipairs(index_names(required)) do keys[#keys + 1] = P .. name .. own end
  return keys
end

-- The one of them to look into, and the others, in which a node must stand as well. (Of `totals` nodes are looked at as if
-- empty.)
local function index_for(name, required, empty)
  if required == '' then return P .. name, NO_OTHERS end
  local others, fewest, at = indexes_of(name, required, empty or name == 'totals'), nil, nil
  for i, key in ipairs(others) do
    local nodes = call('ZCARD', key)
    if not fewest or nodes < fewest then fewest, at = nodes, i end
  end
  local index = at and table.remove(others, at) or P .. name
  return index, (#others > 0 or others.refused or others.amounts) and others or NO_OTHERS
end

-- Of these nodes, the set of those that stand in all the others; nil where all do.
local function standing(others, ids)
  if others == NO_OTHERS or #ids == 0 then return nil end
  local set = {}
  for _, id in ipairs(ids) do set[id] = true end
  --@mark refused_by
  for id in pairs(others.refused or {}) do set[id] = nil end
  for _, key in ipairs(others) do
    local scores = call('ZMSCORE', key, unpack(ids))
    for i, id in ipairs(ids) do
      --@mark every_label
      if not scores[i] then set[id] = nil end
    end
  end
  for id in pairs(others.amounts and set or NO_OTHERS) do
    local node = node_load(id)
    if not node or not has_amounts(node, others.amounts, others.empty) then set[id] = nil end
  end
  return set
end

-- The same of nodes with their scores, as ZRANGE gives them.
local function only_in(others, found)
  if others == NO_OTHERS then return found end
  local ids, carrying = {}, {}
  for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
  local set = standing(others, ids)
  for i = 1, #found, 2 do
    if set[found[i]] then carrying[#carrying + 1], carrying[#carrying + 2] = found[i], found[i + 1] end
  end
  return carrying
end
