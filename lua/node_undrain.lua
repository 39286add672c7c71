#!lua flags=allow-oom
--- node_undrain: a node takes tasks again (draining → up).
-- KEYS: prefix
-- ARGV: now_ms node_id
-- Replies: the state
-- Refuses: node_not_found
-- Promises: repeated it changes nothing; what is free is offered at once
--@include _ledger

local now, id = clock(ARGV[1]), ARGV[2]
local key = P .. 'node:' .. id
local node = node_load(id)
if not node then return refuse('node_not_found', 'no node ' .. id) end
call('HDEL', key, 'drain')
if node.state == 'draining' then
  node.state = 'up'
  call('HSET', key, 'state', 'up')
  node_offer(now, node)
  event('undrained', id, id)
  events_flush()
end
return node.state
