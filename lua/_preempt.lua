--@include _stop
--@include _labelled
-- Preemption: which tasks get an order to stop so that a more important one finds room. Only those marked preemptible
-- (`preemptible`: TOKEN NODE by priority), of lower priority, that have run for a while, and not for ever the same.

local LEAST_RUN = 10000   -- ms that a victim must have run
local MOST_PREEMPTED = 3  -- so often a task is preempted at most
local CANDIDATES = 256    -- looked at in one call; as many more where they aren't enough
local PAGES = 16          -- of so many, in which those on nodes with the labels required are looked for

-- The attempt behind an entry of the ledger, if it may be stopped for a task of this priority.
local function victim(now, token, entry, above)
  local id, cpu, memory, mark, held = entry_parse(entry or '')
  if mark ~= 'r' then return nil end
  local request, attempt = request_of(id) or {}, attempt_of(id) or {}
  local started, times, priority = whole_of(attempt.started), whole_of(request.preempted) or 0, tonumber(request.priority) or 0
  if not request.preemptible or priority >= above or not started or now - started < LEAST_RUN or times >= MOST_PREEMPTED then return nil end
  return { token = token, id = id, cpu = cpu, memory = memory, held = held, started = started, times = times, priority = priority }
end

-- Whether the class fits on the node when these have ended.
local function fits_after(node, class, chosen)
  local cpu, memory, later = room_cpu(node), node.memory, later_resources(node, class)
  for _, one in ipairs(chosen) do
    cpu, memory = cpu + one.cpu, memory + one.memory
    if later then resources_give(later, one.held) end
  end
  return cpu >= class.cpu and memory >= class.memory and (not later or resources_enough(later, class.need.amounts))
end

-- Of the victims of a node, in order, as few as make room; nil if all together don't.
local function enough(node, class)
  if not fits_after(node, class, node.victims) then return nil end
  table.sort(node.victims, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    if a.started ~= b.started then return a.started > b.started end
    return a.token < b.token
  end)
  local chosen = {}
  for _, one in ipairs(node.victims) do
    if fits_after(node, class, chosen) then break end
    chosen[#chosen + 1] = one
  end
  for i = #chosen, 1, -1 do -- those that turn out not to be needed, the most important first
    local one = table.remove(chosen, i)
    if not fits_after(node, class, chosen) then table.insert(chosen, i, one) end
  end
  return chosen
end

-- The CANDIDATES of least priority on nodes that carry the labels required, as far as PAGES show them.
local function candidates_for(above, class)
  local labels = indexes_of('totals', class.group.required, true)
  local found = {}
  for page = 0, labels == NO_OTHERS and 0 or PAGES - 1 do
    local members = call('ZRANGEBYSCORE', P .. 'preemptible', '-inf', '(' .. above,
      'LIMIT', whole(page * CANDIDATES), CANDIDATES)
    if labels == NO_OTHERS then return members end
    local ids = {}
    for i, member in ipairs(members) do ids[i] = string.match(member, ' (%S+)$') or '' end
    local carrying = standing(labels, ids)
    for i, member in ipairs(members) do
      if carrying[ids[i]] and #found < CANDIDATES then found[#found + 1] = member end
    end
    if #members < CANDIDATES or #found == CANDIDATES then break end
  end
  return found
end

-- The same by node: the nodes, those first that have most of them.
local function candidates_by_node(now, above, class)
  local nodes = {}
  for _, member in ipairs(candidates_for(above, class)) do
    local token, id = string.match(member, '^(%S+) (%S+)$')
    local node = id and node_load(id)
    local one = node and node.state == 'up' and victim(now, token, call('HGET', node.ledger, token), above)
    if one then
      if not node.victims then
        node.victims = {}
        nodes[#nodes + 1] = node
      end
      node.victims[#node.victims + 1] = one
    end
  end
  table.sort(nodes, function(a, b)
    return #a.victims > #b.victims or (#a.victims == #b.victims and a.id < b.id)
  end)
  return nodes
end

-- All on the node that may be stopped, also those that weren't among the candidates.
local function read_victims(now, node, above)
  local flat = call('HGETALL', node.ledger)
  node.victims = {}
  for i = 1, #flat, 2 do node.victims[#node.victims + 1] = victim(now, flat[i], flat[i + 1], above) end
end

-- Of these nodes, where fewest must stop, and those of least priority: the node and the tasks; nil if nowhere.
local function best_of(nodes, class)
  local best
  for _, node in ipairs(nodes) do
    local tasks = enough(node, class)
    if tasks and #tasks > 0 then
      local highest = tasks[#tasks].priority
      if not best or #tasks < #best.tasks or (#tasks == #best.tasks and highest < best.highest) then
        best = { node = node, tasks = tasks, highest = highest }
      end
    end
  end
  return best
end

-- Whom to stop for the first blocked task: the node, its size, and the tasks; nil if nobody. Where the candidates of no
-- node are enough, those nodes that have most of them are looked at as a whole.
local function victims(now, first)
  local above = tonumber(first.request.priority) or 0
  local nodes = candidates_by_node(now, above, first.class)
  local best = best_of(nodes, first.class)
  local budget = CANDIDATES
  for _, node in ipairs(nodes) do
    if not best and node.running <= budget then
      budget = budget - node.running
      read_victims(now, node, above)
      best = best_of({ node }, first.class)
    end
  end
  if not best then return nil end
  best.total_cpu, best.total_memory = best.node.total_cpu, best.node.total_memory
  return best
end

-- Tells them to stop; they go back to their old places. How many that were.
local function preempt(chosen, grace)
  local node = chosen.node
  for _, one in ipairs(chosen.tasks) do
    stop_attempt(one.id, node.id, node.incarnation, one.token, 'back', 'preempting', grace)
    local request = request_of(one.id)
    request.preempted = one.times + 1
    request_put(one.id, request)
    call('ZREM', P .. 'preemptible', one.token .. ' ' .. node.id)
    event('preempting', one.id, node.id)
  end
  return #chosen.tasks
end
