#!lua flags=allow-oom
--- task_grow: a node's idle CPU goes to its elastic tasks, up to their maximum.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation idle_ms *tokens
--   idle_ms: for how long the node has got no new task
-- Replies: {grown, wait_ms}: how many attempts got more (resize orders say how much); when it is worth asking again
-- Refuses: stale_incarnation
-- Promises: nothing is given away that pending tasks or a reservation wait for; what is given is surplus: it still counts
--   as free, and is taken back at once when a task needs it
--@include _surplus
--@include _commit

agents_arguments_given(4, 1)
local node_id, incarnation = id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local idle = duration_given(ARGV[4], 'idle_ms')
if wrong() then return wrong() end
local node, stale = node_of(node_id, incarnation)
if stale then return stale end

local grow_after = setting('grow_after')
local wait = grow_after == 'off' and 60000 or (whole_of(grow_after) or tonumber(grow_after) or PY.GROW_AFTER) * 1000 - idle
if wait > 0 then return { 0, math.ceil(wait) } end
local asked_for = node.reserved or call('EXISTS', P .. 'fresh') == 1 or call('ZSCORE', P .. 'dirty', node_id)
if node.state ~= 'up' or node.cpu < 1 or asked_for then return { 0, 1000 } end

-- Those that may have more: how much they have, need and may have.
local function candidate(token)
  local entry = allocation_of(node, token)
  if not entry or entry.mark == 's' then return nil end
  local request = request_of(entry.id) or {}
  local need = whole_of(string.match(request.class or '', '^%d+'))
  if not need then return nil end
  local most = math.max(tonumber(request.max_cpu) or 0, need)
  if request.elastic == 'off' or entry.cpu >= most then return nil end
  return { token = token, entry = entry, need = need, most = most, cpu = entry.cpu }
end

local open, grown = {}, {}
for i = 5, #ARGV do
  local one = candidate(ARGV[i])
  if one then
    open[#open + 1] = one
    grown[#grown + 1] = one
  end
end
local idle_cores = node.cpu
while idle_cores > 0 and #open > 0 do -- a core each in turn
  local still = {}
  for _, one in ipairs(open) do
    if idle_cores > 0 then
      one.cpu, idle_cores = one.cpu + 1, idle_cores - 1
      if one.cpu < one.most then still[#still + 1] = one end
    end
  end
  open = still
end
local n = 0
for _, one in ipairs(grown) do
  if one.cpu > one.entry.cpu and allocation_set(node, one.token, one.entry, one.cpu, one.entry.memory) then
    surplus_set(node, one.token, math.max(0, one.cpu - one.need))
    resize_order(node, one.token, one.entry)
    n = n + 1
  end
end
commit()
return { n, 1000 }
