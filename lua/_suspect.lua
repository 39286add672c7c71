--@include _labelled
--@include _pending
-- A suspect would have failed as poison by a node's death that may have been the doing of another task there. It must run
-- alone first: until it has, its need is a whole node (its class; `asked` keeps what it asked for), so that it waits, is
-- placed and finds a node reserved for it like any task that needs so much. The set `suspects` holds the ids.

local NODES_A_BATCH, MOST_BATCHES = 16, 64
local alone_classes = {} -- what is asked for → what alone_class() found

-- The size of the largest node that could hold what is asked for. No larger one can, or it would be that; so wherever the
-- class fits, it fits only an empty node, and leaves nothing free there.
local function largest_node(need)
  local index, others = index_for('totals', need.group.required)
  for batch = 0, MOST_BATCHES - 1 do
    local found = call('ZREVRANGEBYSCORE', index, '+inf', need.cpu * PY.MEMORY_STEP, 'WITHSCORES', 'LIMIT',
      batch * NODES_A_BATCH, NODES_A_BATCH)
    local carrying = only_in(others, found)
    for i = 2, #carrying, 2 do
      local total = tonumber(carrying[i])
      if total < PY.EXACT and total % PY.MEMORY_STEP >= need.memory then return math.floor(total / PY.MEMORY_STEP), total % PY.MEMORY_STEP end
    end
    if #found < 2 * NODES_A_BATCH then return nil end
  end
end

-- `node_id`: a node on which it was, whose size is taken while no node that is up could; nil where there is none.
local function alone_class(asked, node_id)
  local known = alone_classes[asked]
  if known then return known end
  local need = class_of(asked)
  if not need then return nil end
  local cpu, memory = largest_node(need)
  if not cpu and node_id then
    local total_cpu, total_memory = unpack(fields_of(P .. 'node:' .. node_id, 'total_cpu', 'total_memory'))
    cpu, memory = whole_of(total_cpu) or 0, whole_of(total_memory) or 0
    if cpu < need.cpu or memory < need.memory then return nil end
  end
  if not cpu then return nil end
  known = cpu .. ':' .. memory .. need.group.required
  alone_classes[asked] = known
  return known
end

-- Before it goes back to its queue, which writes the request.
local function suspect(task, node_id)
  local request = task.request
  request.asked = request.asked or request.class
  --@mark alone
  request.class = alone_class(request.asked, node_id) or request.class
  call('SADD', P .. 'suspects', task.id)
end

-- It has run alone and its node lives, or it has ended: it needs what it asked for. (It isn't in a queue; who calls writes
-- the request.)
local function suspect_no_more(task)
  local request = task.request
  if not request.asked then return end
  call('SREM', P .. 'suspects', task.id)
  --@mark suspect_cleared
  request.class = request.asked
  request.asked = nil
end
