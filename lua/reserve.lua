#!lua flags=allow-oom
--- reserve: keep a node for the first blocked task; stop preemptible tasks of lower priority where that makes room.
-- KEYS: prefix
-- ARGV: now_ms grace_ms
-- Replies: {task, node, preempted, looked, kept_for}: the first blocked task, the node that is reserved ('' none), how many
--   tasks were told to stop, how many heads were looked at, and the task that the node is kept for: an earlier one may
--   be blocked since
-- Refuses: nothing
-- Promises: at most one reservation; it comes when the task has been the first blocked one for `reserve_after`, and
--   stays until it is placed or taken away, or an earlier task takes it over; preemption takes `preempt_after`, stops only
--   tasks of lower priority that are marked preemptible, have run for a while and weren't stopped so too often; suspects
--   need the largest node that there is; sets of labels that too many nodes would have to be read for are passed over
--@include _reservation
--@include _preempt
--@include _first_fit
--@include _suspect
--@include _waiting
--@include _commit

arguments_given(2)
local now, grace = time_given(ARGV[1]), whole(duration_given(ARGV[2], 'grace_ms'))
if wrong() then return wrong() end

local LOOKS = 500  -- heads looked at in one call
local FEW = 8      -- … before all nodes are read
local NODES = 1000 -- nodes looked at in one call
local READS = 4000 -- … to learn which of them carry labels, once for each label
local ENDING = 256 -- … of those that are empty first
local NEAREST = 8  -- nodes that lack least, and nodes that are empty first: their tasks' time limits are read
local LIMITS = 512 -- time limits read in one call

local function after(name, default)
  local value = setting(name)
  if value == 'off' then return nil end
  local seconds = tonumber(value) or default
  return (seconds >= 0 and seconds < PY.EXACT / 1000 and seconds or default) * 1000
end

local fronts = {} -- labels that are required → sizes of nodes, of which none is within another
local reads = 0

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
  for _, size in ipairs(front_of(class.group.labels)) do
    if class.cpu <= size.cpu and class.memory <= size.memory then return true end
  end
  return false
end

-- Whether some node that is up could hold the need when empty. `few`: not many are asked for, so that looking it up costs
-- less than reading all nodes.
local function feasible(class, few)
  if not few or class.group.labels ~= '' then return within_front(class) end
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

local looked = 0

-- The class of the first task that some node could hold when empty, as far as so few looks, or so many, show it.
local function first_feasible(cpu, memory, few)
  local looks = few and FEW or LOOKS
  looked = 0
  local class = first_fit(cpu, memory, somewhere, function(_, _, class)
    looked = looked + 1
    return looked >= looks or feasible(class, few)
  end)
  if looked < looks then return class, true end
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
    key = array and array.key or P .. 'task:' .. task,
  }
end

-- Since when it has been the first.
local function since(first)
  local known_first, when = unpack(fields_of(RESERVATION, 'first', 'since'))
  if known_first == first.task and whole_of(when) and whole_of(when) <= now then return tonumber(when) end
  if type(read('HLEN', RESERVATION)) == 'table' then call('DEL', RESERVATION) end -- of another type
  call('HSET', RESERVATION, 'first', first.task, 'since', now)
  return now
end

-- When the tasks on a node leave room for the need at the latest, by their time limits; nil if that isn't known.
local limits_read = 0
local function expected(node, cpu, memory)
  local flat = call('HVALS', node.path .. ':tasks')
  if #flat > 256 or limits_read + #flat > LIMITS then return nil end
  limits_read = limits_read + #flat
  local ends = {}
  for _, text in ipairs(flat) do
    local id, own_cpu, own_memory = entry_parse(text)
    local started, placed, limit = unpack(id and fields_of(P .. 'task:' .. id, 'S', 'T', 'l') or {})
    local began = whole_of(started or placed)
    limit = whole_of(limit)
    if began and limit then ends[#ends + 1] = { at = began + limit, cpu = own_cpu, memory = own_memory } end
  end
  table.sort(ends, function(a, b) return a.at < b.at end)
  local free_cpu, free_memory = room_cpu(node), node.memory
  for _, one in ipairs(ends) do
    free_cpu, free_memory = free_cpu + one.cpu, free_memory + one.memory
    if free_cpu >= cpu and free_memory >= memory then return one.at end
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
  local index, others = index_for('free', class.group.labels)
  local few = {}
  possible_nodes(class, call('ZRANGE', index, -NODES, -1), others, function(id, lack, cpu, memory)
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
  possible_nodes(class, ids, indexes_of('free', class.group.labels), function(id, _, cpu, memory)
    if #few < NEAREST then few[#few + 1] = { id = id, cpu = cpu, memory = memory } end
  end)
  return few
end

-- The node that is expected to have room first; where that isn't known, the one that lacks least.
local function choose(class)
  local lacking = lacking_least(class)
  local best, best_time
  local looked_at = {}
  for _, few in ipairs({ lacking, ending_first(class) }) do
    for _, node in ipairs(few) do
      local loaded = not looked_at[node.id] and node_load(node.id)
      local time = loaded and expected(loaded, class.cpu, class.memory)
      looked_at[node.id] = true
      if time and (not best_time or time < best_time) then best, best_time = node, time end
    end
  end
  local least = unpack(lacking)
  return best or least, best_time
end

local function keep(first, id, total_cpu, total_memory, time)
  if reservation() then
    unreserve(now)
    call('HSET', RESERVATION, 'first', first.task, 'since', first.since)
  end
  local node = node_load(id)
  if not node then
    call('ZREM', P .. 'free', id)
    return first.task, '', 0, ''
  end
  node.reserved = first.task
  call('HSET', P .. 'node:' .. id, 'reserved', first.task)
  index_drop('free', id, node.labels)
  call('HSET', RESERVATION, 'task', first.task, 'class', first.class.name, 'score', first.score,
    'sequence', first.sequence, 'node', id, 'incarnation', node.incarnation, 'at', now, 'until', time or '',
    'spare_cpu', total_cpu - first.class.cpu, 'spare_memory', total_memory - first.class.memory)
  event('reserved', first.task, id)
  return first.task, id, 0, first.task
end

local function run()
  local reserve_after, preempt_after = after('reserve_after', PY.RESERVE_AFTER), after('preempt_after', PY.PREEMPT_AFTER)
  local first = (reserve_after or preempt_after) and first_blocked()
  if not first then
    if reservation() then unreserve(now) else call('DEL', RESERVATION) end
    return '', '', 0, ''
  end
  first.since = since(first)
  local waited = now - first.since
  local present = reservation()
  local mine = present and present.task == first.task
  if preempt_after and waited >= preempt_after then
    local last = mine and tonumber(call('HGET', RESERVATION, 'preempting') or nil)
    local chosen = not (last and now - last < preempt_after) and victims(now, first)
    if chosen then
      keep(first, chosen.node.id, chosen.total_cpu, chosen.total_memory)
      call('HSET', RESERVATION, 'preempting', now)
      return first.task, chosen.node.id, preempt(chosen, grace), first.task
    end
  end
  if reserve_after and waited >= reserve_after and not mine then
    local node, time = choose(first.class)
    if node then return keep(first, node.id, node.cpu, node.memory, time) end
  end
  if present then return first.task, present.node, 0, present.task end
  return first.task, '', 0, ''
end

-- Suspects whose whole node is no longer the largest: it left, or a larger one came. A few a call, at random.
for _, id in ipairs(call('SRANDMEMBER', SUSPECTS, 16)) do
  local record = waiting_record(id)
  local class = record and record.O and record.s == 'pending' and alone_class(record.O)
  if class and class ~= record.c then
    take_out(id, record)
    record.c = class
    call('HSET', P .. 'task:' .. id, 'c', class)
    task_pending(id, record, record.n)
  end
end
settle(now)

local task, node, preempted, kept_for = run()
commit(now)
return { task, node, preempted, looked, kept_for }
