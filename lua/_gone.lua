--@include _reservation
-- A node that is no more: out of the indexes at once; its allocations are given back in batches by node_reap.
-- `lost` holds NODE:INCARNATION:HOW with HOW = crashed (tasks that had started are charged a crash), alone (the same, and
-- there was only one), or left.

local function node_gone(now, node, how)
  local id = node.id
  if how == 'crashed' and node.running == 1 then how = 'alone' end
  call('HSET', P .. 'node:' .. id, 'state', 'dead')
  --@mark fault_dropped
  call('HDEL', P .. 'node:' .. id, 'fault')
  call('ZREM', P .. 'nodes', id)
  node_withdraw(node)
  call('DEL', P .. 'node:' .. id .. ':alive')
  call('ZADD', P .. 'gone', now, id)
  call('SADD', P .. 'lost', id .. ':' .. node.incarnation .. ':' .. how)
  event(how == 'left' and 'left' or 'dead', id, id)
  node.state = 'dead'
  if node.reserved and reservation() then unreserve(now) end
  wake()
end
