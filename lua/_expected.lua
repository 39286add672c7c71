--@include _labelled
--@include _record
-- Where a blocked task is expected to find room first: by the time limits of what runs on the nodes, or by what they lack.

local LACKING = 1000 -- nodes with most CPU free that are looked at for what they lack
local ENDING = 256   -- nodes that are empty first that are looked at
local NEAREST = 8    -- of either that are chosen from: their tasks' time limits are read
local LIMITS = 512   -- time limits that are read in one call
local limits_read = 0

-- When the tasks on a node leave room for the class at the latest, by their time limits; nil if that isn't known.
local function expected(node, class)
  local flat = call('HVALS', node.ledger)
  if #flat > 256 or limits_read + #flat > LIMITS then return nil end
  limits_read = limits_read + #flat
  local ends, ids = {}, {}
  for _, text in ipairs(flat) do ids[#ids + 1] = entry_parse(text) end
  records_fetch(ids, 'request')
  records_fetch(ids, 'attempt')
  for _, text in ipairs(flat) do
    local id, own_cpu, own_memory, _, held = entry_parse(text)
    local request, attempt = id and request_of(id) or {}, id and attempt_of(id) or {}
    local began, limit = whole_of(attempt.started or attempt.placed), whole_of(request.time_limit)
    if began and limit then ends[#ends + 1] = { at = began + limit, cpu = own_cpu, memory = own_memory, held = held } end
  end
  table.sort(ends, function(a, b) return a.at < b.at end)
  local free_cpu, free_memory, later = room_cpu(node), node.memory, later_resources(node, class)
  for _, one in ipairs(ends) do
    free_cpu, free_memory = free_cpu + one.cpu, free_memory + one.memory
    if later then resources_give(later, one.held) end
    if free_cpu >= class.cpu and free_memory >= class.memory and (not later or resources_enough(later, class.need.amounts)) then
      return one.at
    end
  end
end

-- Calls `each(id, lack, cpu, memory)` for those of these nodes, in their order, that could hold the need when empty: what
-- they lack of it now, and their size. `others`: the indexes of labels in which they must stand.
local function possible_nodes(class, ids, others, each)
  if #ids == 0 then return end
  local totals, frees = call('ZMSCORE', P .. 'totals', unpack(ids)), call('ZMSCORE', P .. 'free', unpack(ids))
  local carrying = standing(others, ids)
  local need_cpu, need_memory = class.cpu, class.memory
  for i = 1, #ids do
    local total, free = totals[i], frees[i]
    if total and free and (not carrying or carrying[ids[i]]) then
      free = free % PY.KIND_STEP
      local total_memory, free_memory = total % PY.MEMORY_STEP, free % PY.MEMORY_STEP
      local total_cpu, free_cpu = (total - total_memory) / PY.MEMORY_STEP, (free - free_memory) / PY.MEMORY_STEP
      if total_cpu >= need_cpu and total_memory >= need_memory then
        local lack = 0
        if free_cpu < need_cpu then lack = 1 - free_cpu / need_cpu end
        if free_memory < need_memory then lack = lack + 1 - free_memory / need_memory end
        each(ids[i], lack, total_cpu, total_memory)
      end
    end
  end
end

-- The NEAREST nodes that lack least, of equal ones the first by name.
local function lacking_least(class)
  local index, others = index_for('free', class.group.required, true)
  local few = {}
  possible_nodes(class, call('ZRANGE', index, -LACKING, -1), others, function(id, lack, cpu, memory)
    local last = few[NEAREST]
    if last and (last.lack < lack or (last.lack == lack and last.id < id)) then return end
    local at = math.min(#few + 1, NEAREST)
    while at > 1 and (few[at - 1].lack > lack or (few[at - 1].lack == lack and few[at - 1].id > id)) do
      few[at] = few[at - 1]
      at = at - 1
    end
    few[at] = { id = id, lack = lack, cpu = cpu, memory = memory }
  end)
  return few
end

-- The NEAREST nodes that are empty first, as far as that is known.
local function ending_first(class)
  local few = {}
  local ids = call('ZRANGE', P .. 'ends', '0', whole(ENDING - 1))
  possible_nodes(class, ids, indexes_of('free', class.group.required, true), function(id, _, cpu, memory)
    if #few < NEAREST then few[#few + 1] = { id = id, cpu = cpu, memory = memory } end
  end)
  return few
end

-- The node that is expected to have room first; where that isn't known, the one that lacks least.
local function expected_room(class)
  local lacking = lacking_least(class)
  local best, best_time
  local looked_at = {}
  for _, few in ipairs({ lacking, ending_first(class) }) do
    for _, node in ipairs(few) do
      local loaded = not looked_at[node.id] and node_load(node.id)
      local time = loaded and expected(loaded, class)
      looked_at[node.id] = true
      if time and (not best_time or time < best_time) then best, best_time = node, time end
    end
  end
  local least = unpack(lacking)
  return best or least, best_time
end
