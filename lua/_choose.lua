--@include _fill
-- Which of the nodes with room a task is put on (setting node_choice).
--   first_fit  the smallest node, of equal ones the first by name: large nodes and whole nodes stay free for large tasks
--   best_fit   the one on which least CPU is left, of equal ones least memory
--   tight      the one on which least is left of both, as shares of what the task asks for
--   aligned    the one where a task with a time limit ends with the others, so that whole nodes come free: whose last
--              task ends soonest after it; else the one that it keeps busy for least longer; an empty node last. Without
--              time limits as first_fit
-- All but best_fit weigh the CANDIDATES nodes with least free CPU among those with enough of it; where none of these has
-- the memory, the best fit beyond them is taken. So no choice ever misses a node with room.

local FREE = P .. 'free'
local CANDIDATES = 32
local blocked = {} -- needs that fit nowhere: while this script runs, room only shrinks

local function known_blocked(cpu, memory)
  for _, need in ipairs(blocked) do
    if cpu >= need[1] and memory >= need[2] then return true end
  end
  return false
end

-- Exact and without a scan, as `free` is ordered by (free CPU, free memory): at most two look-ups for each different
-- number of free cores.
local function best_fit(cpu, memory)
  local from = cpu * MEMORY_BITS + memory
  while true do
    local found = call('ZRANGEBYSCORE', FREE, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not found[1] then
      blocked[#blocked + 1] = { cpu, memory }
      return nil
    end
    local score = tonumber(found[2])
    local free_cpu = math.floor(score / MEMORY_BITS)
    if score - free_cpu * MEMORY_BITS >= memory then return found[1] end
    from = free_cpu * MEMORY_BITS + memory
  end
end

-- The candidates with room: their ids, and what they have free as the index packs it.
local function candidates(cpu, memory)
  local found = call('ZRANGEBYSCORE', FREE, cpu * MEMORY_BITS + memory, '+inf', 'WITHSCORES', 'LIMIT', 0, CANDIDATES)
  local ids, scores = {}, {}
  for i = 1, #found, 2 do
    local score = tonumber(found[i + 1])
    if score % MEMORY_BITS >= memory then
      ids[#ids + 1] = found[i]
      scores[#scores + 1] = score
    end
  end
  return ids, scores
end

-- The candidate with the least rank, of equal ones the first by name.
local function least(ids, ranks)
  local best = 1
  for i = 2, #ids do
    local rank, least_rank = tonumber(ranks[i]), tonumber(ranks[best])
    if rank < least_rank or (rank == least_rank and ids[i] < ids[best]) then best = i end
  end
  return ids[best]
end

local function smallest_node(cpu, memory)
  local ids = candidates(cpu, memory)
  if #ids < 2 then return ids[1] or best_fit(cpu, memory) end
  return least(ids, call('ZMSCORE', P .. 'totals', unpack(ids)))
end

local function tight(cpu, memory)
  local ids, scores = candidates(cpu, memory)
  if #ids == 0 then return best_fit(cpu, memory) end
  for i, score in ipairs(scores) do
    scores[i] = math.floor(score / MEMORY_BITS) / cpu + (score % MEMORY_BITS) / memory
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

local function aligned(cpu, memory, ends)
  local ids = candidates(cpu, memory)
  if #ids < 2 then return ids[1] or best_fit(cpu, memory) end
  local ranks = call('ZMSCORE', P .. 'totals', unpack(ids))
  if ends then
    for i, id in ipairs(ids) do ranks[i] = misfit(node_load(id), ends, tonumber(ranks[i])) end
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

-- The node for the head of a class, or nil if it fits nowhere; and whether the next one is to be asked for anew.
local function node_with_room(now, class)
  if known_blocked(class.cpu, class.memory) then return nil end
  choice = choice or choice_of(call('HGET', P .. 'settings', 'node_choice'))
  local ends = choice == aligned and head_ends(now, class) or nil
  local id = choice(class.cpu, class.memory, ends)
  return id and node_load(id), ends ~= nil
end
