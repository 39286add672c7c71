#!lua flags=allow-oom
--- repair_kept: drop a reservation that doesn't hold together, put an attempt into or out of the preemptible ones.
-- KEYS: prefix
-- ARGV: now_ms token node_id
--   token '': the reservation
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: what holds together isn't written to; a reservation that is dropped is made anew by the schedulers
--@include _waiting
--@include _repair

arguments_given(3)
local now, token, node_id = time_given(ARGV[1]), found_given(ARGV[2], 'token'), found_given(ARGV[3], 'node id')
if wrong() then return wrong() end
local RESERVATION = P .. 'reservation'

local function is_sound(stored)
  for _, name in ipairs({ 'task', 'class', 'score', 'sequence', 'incarnation', 'spare_cpu', 'spare_memory' }) do
    if not stored[name] then return false end
  end
  local state_of_node, incarnation, reserved, total_cpu, total_memory =
    unpack(call('HMGET', P .. 'node:' .. stored.node, 'state', 'incarnation', 'reserved', 'total_cpu', 'total_memory'))
  if state_of_node ~= 'up' or incarnation ~= stored.incarnation or reserved ~= stored.task then return false end
  local task = task_read(stored.task) or unmade_task(stored.task)
  if not task or task.state ~= 'pending' then return false end
  if task.request.class ~= stored.class or task.request.turn ~= stored.sequence then return false end
  local cpu, memory = string.match(stored.class, '^(%d+):(%d+)')
  cpu, memory = cpu + stored.spare_cpu, memory + stored.spare_memory
  for name, value in pairs(stored) do
    if string.sub(name, 1, 1) == '+' then
      local ledger = P .. 'node:' .. stored.node .. ':' .. stored.incarnation .. ':tasks'
      if call('HEXISTS', ledger, string.sub(name, 2)) == 0 then return false end
      local used_cpu, used_memory = string.match(value, '^(%d+):(%d+)$')
      cpu, memory = cpu + (used_cpu or 0), memory + (used_memory or 0)
    end
  end
  return cpu == tonumber(total_cpu) and memory == tonumber(total_memory)
end

local function repair_reservation()
  local stored = {}
  local flat = call('HGETALL', RESERVATION)
  for i = 1, #flat, 2 do stored[flat[i]] = flat[i + 1] end
  if not stored.node or is_sound(stored) then return end
  call('DEL', RESERVATION)
  did('dropped: the schedulers make it anew')
  if call('HDEL', P .. 'node:' .. stored.node, 'reserved') == 1 then node_recompute(now, stored.node) end
end

-- In the index is what is on the ledger of the node, of a task that may be preempted.
local function repair_attempt()
  local member = token .. ' ' .. node_id
  local incarnation = call('HGET', P .. 'node:' .. node_id, 'incarnation') or ''
  local entry = call('HGET', P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks', token)
  if not entry then
    for _, lost in ipairs(call('SMEMBERS', P .. 'lost')) do
      if string.sub(lost, 1, #node_id + 1) == node_id .. ':' then return end -- its tasks are being given back
    end
    index_set('preemptible', member, nil)
    return
  end
  local id, _, _, mark = entry_parse(entry)
  local task = id and task_read(id)
  if not task or not task.attempt or task.attempt.token ~= token then return end
  local score = call('ZSCORE', P .. 'preemptible', member)
  if not task.request.preemptible then
    index_set('preemptible', member, nil)
  elseif score or mark ~= 's' then
    index_set('preemptible', member, tonumber(task.request.priority or 0))
  end
end

if token == '' then repair_reservation() else repair_attempt() end
return repaired(now)
