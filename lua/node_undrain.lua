#!lua flags=allow-oom
--- node_undrain: a node takes tasks again (draining → up | faulty).
-- KEYS: prefix
-- ARGV: now_ms node_id
-- Replies: the state
-- Refuses: node_not_found
-- Promises: repeated it changes nothing; what is free is offered at once, unless the node has a fault (node_fault)
--@include _ledger
--@include _commit

arguments_given(2)
local now, id = time_given(ARGV[1]), id_given(ARGV[2], 'node id')
if wrong() then return wrong() end

local key = P .. 'node:' .. id
local node = node_load(id)
if not node then return refuse('node_not_found', 'no node ' .. id) end
call('HDEL', key, 'drain')
if node.state == 'draining' then
  --@mark fault_known
  if call('HEXISTS', key, 'fault') == 1 then
    node.state = 'faulty'
    call('HSET', key, 'state', 'faulty')
  else
    node_resume(now, node)
  end
  event('undrained', id, id)
end
commit(now)
return node.state
