#!lua flags=allow-oom
--- node_reload: a node is ordered to run tasks in new processes from now on, so that they find new code.
-- KEYS: prefix
-- ARGV: now_ms node_id
-- Replies: the state
-- Refuses: node_not_found, wrong_state (it is dead)
-- Promises: while the last order is this one and hasn't been acknowledged, none is added
--@include _ledger
--@include _commit

arguments_given(2)
local id = id_given(ARGV[2], 'node id')
time_given(ARGV[1])
if wrong() then return wrong() end

local node = node_load(id)
if not node then return refuse('node_not_found', 'no node ' .. id) end
if node.state == 'dead' then
  return refuse('wrong_state', 'node ' .. id .. ' is dead: its worker finds new code when it is started again')
end
local last = node.ordered > node.acked and call('LINDEX', node.path .. ':orders', -1)
if not (last and string.find(last, '^%d+ reload ')) then
  order_add(node, 'reload - -')
  event('reloading', id, id)
end
commit()
return node.state
