--@include _first_fit
--@include _labelled
-- The first blocked task: the earliest one that some node that is up could hold when empty. (Those before it fit nowhere.)

local FEW = 8      -- heads that are looked at before all nodes are read
local HEADS_MOST = 500 -- heads that are looked at in one call
local NODES = 1000 -- nodes that are read in one call
local READS = 4000 -- entries that are read to learn which of them carry labels, once for each label
local fronts = {} -- labels that are required → sizes of nodes, of which none is within another
local reads = 0
local looked = 0 -- heads in the last walk

-- The sizes of the nodes that carry all labels required: what fits into any of them fits into one of these. None, where so
-- much was read for others that what requires these is passed over in this call.
local function front_of(labels)
  local front = fronts[labels]
  if front then return front end
  front = {}
  fronts[labels] = front
  if labels ~= '' and reads >= READS then return front end
  local index, others = index_for('totals', labels)
  local found = call('ZREVRANGE', index, '0', whole(NODES - 1), 'WITHSCORES')
  reads = reads + (1 + #others) * #found / 2
  found = only_in(others, found)
  for i = 2, #found, 2 do
    local total = tonumber(found[i])
    local last = front[#front]
    if not last or total % PY.MEMORY_STEP > last.memory then
      front[#front + 1] = { cpu = math.floor(total / PY.MEMORY_STEP), memory = total % PY.MEMORY_STEP }
    end
  end
  return front
end

local function somewhere(labels)
  return #front_of(labels) > 0
end

local function within_front(class)
  for _, size in ipairs(front_of(class.group.required)) do
    if class.cpu <= size.cpu and class.memory <= size.memory then return true end
  end
  return false
end

-- Whether some node that is up could hold the need when empty. `few`: not many are asked for, so that looking it up costs
-- less than reading all nodes.
local function feasible(class, few)
  if not few or class.group.required ~= '' then return within_front(class) end
  local from = class.cpu * PY.MEMORY_STEP + class.memory
  while true do
    local id, score = unpack(call('ZRANGEBYSCORE', P .. 'totals', from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1))
    if not id then return false end
    score = tonumber(score)
    if score >= PY.EXACT then return false end -- no node has so much: the audit takes it out
    local total_cpu = math.floor(score / PY.MEMORY_STEP)
    if score - total_cpu * PY.MEMORY_STEP >= class.memory then return true end
    from = total_cpu * PY.MEMORY_STEP + class.memory
  end
end

-- The most CPU that any node has.
local function most_cpu()
  local _, total = unpack(call('ZREVRANGE', P .. 'totals', '0', '0', 'WITHSCORES'))
  return total and math.floor(total / PY.MEMORY_STEP) or 0
end

-- The class of the first task that some node could hold when empty, as far as so few heads, or so many, show it.
local function first_feasible(cpu, memory, few)
  if cpu < 1 then return nil, true end -- there is no node
  local most = few and FEW or HEADS_MOST
  looked = 0
  local class = first_fit(cpu, memory, somewhere, function(_, _, class)
    looked = looked + 1
    return looked >= most or feasible(class, few)
  end)
  if looked < most then return class, true end
  first_fit_reset()
  return nil, false
end

-- The first pending task that some node could hold when empty. All nodes are read only when there is much that none could.
local function first_blocked()
  if call('EXISTS', P .. 'groups') == 0 then return nil end
  local class, found = first_feasible(most_cpu(), math.huge, true)
  if not found then
    local front = front_of('')
    local widest = unpack(front)
    class = widest and first_feasible(widest.cpu, front[#front].memory, false)
  end
  if not class then return nil end
  local score, member, array = class_peek(class)
  if not member then
    heads_mend(class)
    return nil
  end
  local task = string.sub(member, PY.SEQUENCE + 1)
  return {
    class = class, score = score, sequence = string.sub(member, 1, PY.SEQUENCE), task = task,
    request = array and array.request or request_of(task) or {},
  }
end

-- How many heads were looked at for it.
local function heads_looked_at()
  return looked
end
