#!lua flags=allow-oom
--- task_resize: a running task gives resources back or asks for more; it never waits (promise 5).
-- KEYS: prefix
-- ARGV: now_ms nonce node_id incarnation token number cpu memory limit
--   cpu and memory (MB) are absolute targets, '' leaves them; number grows with each call of an attempt
-- Replies: {cpu, memory, ordered}: the allocation as it is now (unchanged where the growth isn't free, goes beyond the
--   task's need on a reserved node or beyond its maximum, the number isn't new, or the task must be alone on its node),
--   and the number of the last order: a resize order up to that one is older than this answer
-- Refuses: stale_incarnation
-- Promises: repeated it changes nothing; what is given back is offered in the same call
--@include _fill
--@include _commit

-- An amount, or '' for what there is.
local function amount_given(text, what, most)
  return text ~= '' and number_given(text, what, -most, most) or nil
end

agents_arguments_given(9)
local now, nonce, node_id = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), id_given(ARGV[3], 'node id')
local incarnation, token = id_given(ARGV[4], 'incarnation'), id_given(ARGV[5], 'token')
local number, limit = number_given(ARGV[6], 'number', 0, MOST_COUNT), number_given(ARGV[9], 'limit', 0, MOST_BATCH)
local wanted_cpu, wanted_memory = amount_given(ARGV[7], 'cpu', PY.MOST_CPU), amount_given(ARGV[8], 'memory', PY.MOST_MEMORY)
if wrong() then return wrong() end
local node, stale = node_of(node_id, incarnation)
if stale then return stale end
local entry = allocation_of(node, token)
if not entry then return { 0, 0, node.ordered } end

local request, attempt = request_of(entry.id) or {}, attempt_of(entry.id) or {}
local need = class_of(request.class or '')
if not need then return { entry.cpu, entry.memory, node.ordered } end
local cpu, memory = wanted_cpu or entry.cpu, wanted_memory or entry.memory
local most_cpu = math.max(tonumber(request.max_cpu) or 0, need.cpu)
local most_memory = math.max(tonumber(request.max_memory) or 0, need.memory)
local grows, shrinks = cpu > entry.cpu or memory > entry.memory, cpu < entry.cpu or memory < entry.memory

local available = cpu <= need.cpu and room_cpu(node) or node.cpu -- up to its need it may take others' surplus
-- A reservation counts on what runs there to need no more than it asked for.
local into_reservation = node.reserved and ((cpu > entry.cpu and cpu > need.cpu) or (memory > entry.memory and memory > need.memory))
local refused = entry.mark == 's' or request.asked or number <= (whole_of(attempt.resize) or 0)
  or cpu < 1 or memory < 1 or cpu > most_cpu or memory > most_memory
  or cpu - entry.cpu > available or memory - entry.memory > node.memory or into_reservation
if not refused then attempt_change(entry.id, { resize = whole(number) }) end
if refused or not (grows or shrinks) then
  records_flush()
  return { entry.cpu, entry.memory, node.ordered }
end

if cpu - entry.cpu > node.cpu then reclaim(node, cpu - entry.cpu - node.cpu) end
if not allocation_set(node, token, entry, cpu, memory) then
  commit(now)
  return { entry.cpu, entry.memory, node.ordered }
end
if request.elastic ~= 'off' then surplus_set(node, token, math.max(0, cpu - need.cpu)) end
if shrinks then
  local _, undone = fill_safely(now, nonce, node, limit)
  if undone then wake() end
end
local left = allocation_of(node, token) -- the fill may have taken surplus back
commit(now)
return { left.cpu, left.memory, node.ordered }
