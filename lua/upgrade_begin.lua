#!lua flags=allow-oom
--- upgrade_begin: nobody reads or writes these data until they are converted (up, draining, faulty → dead).
-- KEYS: prefix
-- ARGV: now_ms
-- Replies: the version from which they are to be converted, '' where they needn't be
-- Refuses: other_schema (they are newer), namespace_in_use (with the names of processes that live), refused (tasks wait in
--   queues as they were before version 1)
-- Promises: no registration outlives it, and so no call of an agent; called again it answers the same
--@include _gone
--@include _observe
--@include _features
--@include _commit

local CLASS = '[1-9]%d*:[1-9]'

-- Whether what waits has places of ten digits: there once was no more.
local function has_short_places()
  for _, head in ipairs(call('ZRANGE', P .. 'groups', 0, -1)) do
    local long, short = string.rep('%x', PY.SEQUENCE), string.rep('%x', 10)
    if not string.find(head, '^' .. long .. CLASS) and string.find(head, '^' .. short .. CLASS) then return true end
  end
  return false
end

agents_arguments_given(1)
local now = time_given(ARGV[1])
if wrong() then return wrong() end
local from, begun = schema_to_convert()
if not from then
  local other = schema_wrong()
  return other and refuse('other_schema', other) or ''
end
local busy = processes_alive(now, observe(now).sweep)
if busy and not begun then
  return refuse('namespace_in_use', 'processes of this namespace live: ' .. busy .. '. Stop them, and all clients; who was killed counts'
    .. ' as gone after its time to live')
end
if has_short_places() then
  return refuse('refused', 'tasks wait in places of ten digits, which an earlier rq-sched has given them: start that one again until'
    .. ' none waits, or cancel them with it, then try again')
end
for _, id in ipairs(call('ZRANGE', P .. 'nodes', 0, -1)) do
  local node = node_load(id)
  if node and node.state ~= 'dead' then node_gone(now, node, 'crashed') end
end
commit(now)
schema_converting(from)
return from
