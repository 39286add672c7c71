--@include _stop
-- Preemption: which tasks are told to stop so that a more important one finds room. Only those marked preemptible
-- (`preemptible`: TOKEN NODE by priority), of lower priority, that have run for a while, and not for ever the same.

local LEAST_RUN = 10000   -- ms that a victim must have run
local MOST_PREEMPTED = 3  -- so often a task is preempted at most
local CANDIDATES = 256    -- looked at in one call

local function victim(now, token, node)
  local id, cpu, memory, mark = entry_parse(call('HGET', node.path .. ':tasks', token) or '')
  if mark ~= 'r' then return nil end
  local r = call('HMGET', P .. 'task:' .. id, 'S', 'P')
  if not r[1] or now - tonumber(r[1]) < LEAST_RUN or tonumber(r[2] or 0) >= MOST_PREEMPTED then return nil end
  return { token = token, id = id, cpu = cpu, memory = memory, started = tonumber(r[1]), times = tonumber(r[2] or 0) }
end

-- Of the victims of a node, in order, as few as make room; nil if all together don't.
local function enough(node, class)
  local cpu, memory = room_cpu(node), node.memory
  table.sort(node.victims, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    if a.started ~= b.started then return a.started > b.started end
    return a.token < b.token
  end)
  local chosen = {}
  for _, one in ipairs(node.victims) do
    if cpu >= class.cpu and memory >= class.memory then break end
    cpu, memory = cpu + one.cpu, memory + one.memory
    chosen[#chosen + 1] = one
  end
  if cpu < class.cpu or memory < class.memory then return nil end
  for i = #chosen, 1, -1 do -- those that turn out not to be needed, the most important first
    local one = chosen[i]
    if cpu - one.cpu >= class.cpu and memory - one.memory >= class.memory then
      cpu, memory = cpu - one.cpu, memory - one.memory
      table.remove(chosen, i)
    end
  end
  return chosen
end

-- Where fewest must stop, and those of least priority: the node, its size, and the tasks; nil if nowhere.
local function victims(now, first)
  local priority = tonumber(call('HGET', P .. 'task:' .. first.task, 'p') or 0)
  local found = call('ZRANGEBYSCORE', P .. 'preemptible', '-inf', '(' .. priority, 'WITHSCORES', 'LIMIT', 0, CANDIDATES)
  local nodes = {}
  for i = 1, #found, 2 do
    local token, id = string.match(found[i], '^(%S+) (%S+)$')
    local node = node_load(id)
    local one = node and node.state == 'up' and victim(now, token, node)
    if one then
      one.priority = tonumber(found[i + 1])
      if not node.victims then
        node.victims = {}
        nodes[#nodes + 1] = node
      end
      node.victims[#node.victims + 1] = one
    end
  end
  local best
  for _, node in ipairs(nodes) do
    local tasks = enough(node, first.class)
    if tasks and #tasks > 0 then
      local highest = tasks[#tasks].priority
      if not best or #tasks < #best.tasks or (#tasks == #best.tasks and highest < best.highest) then
        local total = call('HMGET', P .. 'node:' .. node.id, 'total_cpu', 'total_memory')
        best = { node = node, tasks = tasks, highest = highest, total_cpu = tonumber(total[1]), total_memory = tonumber(total[2]) }
      end
    end
  end
  return best
end

-- Tells them to stop; they go back to their old places. How many that were.
local function preempt(chosen, grace)
  local node = chosen.node
  for _, one in ipairs(chosen.tasks) do
    stop_attempt(one.id, node.id, node.incarnation, one.token, 'back', 'preempting', grace)
    call('HSET', P .. 'task:' .. one.id, 'P', one.times + 1)
    call('ZREM', P .. 'preemptible', one.token .. ' ' .. node.id)
    event('preempting', one.id, node.id)
  end
  return #chosen.tasks
end
