--@include _fill
--@include _labelled
-- Which of the nodes with room a task is put on (setting node_choice).
--   first_fit  the smallest node, of equal ones the first by name: large nodes and whole nodes stay free for large tasks
--   best_fit   the one on which least CPU is left, of equal ones least memory
--   tight      the one on which least is left of both, as shares of what the task asks for
--   aligned    the one where a task with a time limit ends with the others, so that whole nodes come free: whose last
--              task ends soonest after it; else the one that it keeps busy for least longer; an empty node last. Without
--              time limits as first_fit
-- Only nodes that carry the labels which the task requires, and have the resources, are looked at; of those with room the ones
-- with the fewest other resources.
-- All but best_fit weigh the CANDIDATES nodes with least free CPU among those with enough of it; where none of these has
-- the memory, the best fit beyond them is taken. So no choice ever misses a node with room.

local CANDIDATES = 32
local blocked = {} -- labels → needs that fit nowhere: while this script runs, room only shrinks
local batches = 0    -- of nodes that were asked for more labels than one: they weigh as lookups do

local function known_blocked(need)
  for _, one in ipairs(blocked[need.group.required] or {}) do
    if need.cpu >= one.cpu and need.memory >= one.memory then return true end
  end
  return false
end

local function block(need)
  local list = blocked[need.group.required] or {}
  blocked[need.group.required] = list
  list[#list + 1] = need
end

local function batches_taken()
  local taken = batches
  batches = 0
  return taken
end

-- Whether a score of `free` says that there is room.
local function is_room(score, need)
  return score % PY.KIND_STEP >= need.cpu * PY.MEMORY_STEP and score % PY.MEMORY_STEP >= need.memory
end

-- Exact and without a scan, as the index is ordered by (kinds of resources, free CPU, free memory): at most two lookups for each
-- different number of free cores. Only of several labels the others must be asked node by node, and nodes with resources.
local function best_fit(need)
  local index, others = index_for('free', need.group.required)
  local batch = others == NO_OTHERS and 1 or CANDIDATES
  local lowest = need.cpu * PY.MEMORY_STEP + need.memory
  local from, skip = lowest, 0
  while true do
    local found = call('ZRANGEBYSCORE', index, from, '+inf', 'WITHSCORES', 'LIMIT', skip, batch)
    if #found == 0 then
      block(need)
      return nil
    end
    if batch > 1 then batches = batches + 1 end
    local carrying = only_in(others, found)
    for i = 1, #carrying, 2 do
      if is_room(tonumber(carrying[i + 1]), need) then return carrying[i] end
    end
    local last = tonumber(found[#found])
    if last >= PY.EXACT then
      call('ZREM', index, found[#found - 1]) -- no node has so much
    elseif last % PY.KIND_STEP < lowest then
      from, skip = last - last % PY.KIND_STEP + lowest, 0
    elseif last % PY.MEMORY_STEP < need.memory then
      from, skip = last - last % PY.MEMORY_STEP + need.memory, 0
    else
      skip = skip + #found / 2
    end
  end
end

-- The candidates with room: their ids, and what they have free as the index packs it.
local function candidates(need)
  local index, others = index_for('free', need.group.required)
  local from = need.cpu * PY.MEMORY_STEP + need.memory
  local found = call('ZRANGEBYSCORE', index, from, '+inf', 'WITHSCORES', 'LIMIT', 0, CANDIDATES)
  found = only_in(others, found)
  local ids, scores, behind = {}, {}, math.huge
  for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    if score >= behind then break end
    if is_room(score, need) then
      ids[#ids + 1] = found[i]
      scores[#scores + 1] = score % PY.KIND_STEP
      behind = score - scores[#scores] + PY.KIND_STEP -- there begin nodes with more kinds of resources
    end
  end
  return ids, scores
end

-- The candidate with the least rank, of equal ones the first by name.
local function least(ids, ranks)
  local best = 1
  for i = 2, #ids do
    local rank, least_rank = tonumber(ranks[i]) or math.huge, tonumber(ranks[best]) or math.huge
    if rank < least_rank or (rank == least_rank and ids[i] < ids[best]) then best = i end
  end
  return ids[best]
end

local function smallest_node(need)
  local ids = candidates(need)
  local first = unpack(ids)
  if #ids < 2 then return first or best_fit(need) end
  return least(ids, call('ZMSCORE', P .. 'totals', unpack(ids)))
end

local function tight(need)
  local ids, scores = candidates(need)
  if #ids == 0 then return best_fit(need) end
  for i, score in ipairs(scores) do
    scores[i] = math.floor(score / PY.MEMORY_STEP) / math.max(1, need.cpu) + (score % PY.MEMORY_STEP) / need.memory
  end
  return least(ids, scores)
end

-- For the choice `aligned`: less is better. What is known of a busy node is milliseconds; `total` is the node's size.
local LAST = 2 ^ 50
local function misfit(node, ends, total)
  if node.running == 0 then return 2 * LAST + total end
  if not node.ends then return LAST + total end
  if node.ends < ends then return ends - node.ends end
  return (node.ends - ends) / LAST
end

local function aligned(need, ends)
  local ids = candidates(need)
  local first = unpack(ids)
  if #ids < 2 then return first or best_fit(need) end
  local ranks = call('ZMSCORE', P .. 'totals', unpack(ids))
  if ends then
    for i, id in ipairs(ids) do
      local node = node_load(id)
      ranks[i] = node and misfit(node, ends, tonumber(ranks[i]) or LAST) or math.huge
    end
  end
  return least(ids, ranks)
end

local choice -- the one of the settings

local function choice_of(name)
  if name == 'best_fit' then return best_fit end
  if name == 'tight' then return tight end
  if name == 'aligned' then return aligned end
  return smallest_node
end

local function has_room(node, class)
  return node and node.state == 'up' and not node.reserved and room_cpu(node) >= class.cpu and node.memory >= class.memory
    and has_amounts(node, class.need.amounts)
end

-- The node for the head of a class, or nil if it fits nowhere; and whether the next one is to be asked for anew.
local function node_with_room(now, class)
  if known_blocked(class) then return nil end
  choice = choice or choice_of(setting('node_choice'))
  local ends = choice == aligned and head_ends(now, class) or nil
  for _ = 1, CANDIDATES do
    local id = choice(class, ends)
    local node = id and node_load(id)
    if not id or has_room(node, class) then return node, ends ~= nil end
    index_drop('free', id, class.group.required) -- the index said more than is there
    if node then node_index(node) end
  end
end
