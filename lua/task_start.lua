#!lua flags=allow-oom
--- task_start: a node reports that attempts run (assigned → running).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation *tokens
-- Replies: how many were recorded; tokens that are no longer on the ledger are passed over
-- Refuses: stale_incarnation
-- Promises: repeated it changes nothing
--@include _ledger
--@include _commit

agents_arguments_given(3, 1)
local now, node_id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
if wrong() then return wrong() end
local node, stale = node_of(node_id, incarnation)
if stale then return stale end

local n = 0
for i = 4, #ARGV do
  local token = ARGV[i]
  local entry = call('HGET', node.path .. ':tasks', token)
  local id, cpu, memory, mark = entry_parse(entry or '')
  if mark == 'a' then
    node_touch(node)
    node.started = node.started + 1
    node.entries[#node.entries + 1] = token
    node.entries[#node.entries + 1] = id .. ':' .. cpu .. ':' .. memory .. ':r'
    call('HSET', P .. 'task:' .. id, 's', 'running', 'S', now)
    event('started', id, node_id)
    n = n + 1
  end
end
commit(now, node_id)
return n
