--@include _ledger
--@include _record
-- Telling a node to stop an attempt: from now on its outcome is fenced (mark s), its allocation stays until the node
-- confirms that the processes are gone. What follows then is the intention (`after`): requeue, end, back (its old place).

local function stop_attempt(id, node_id, incarnation, token, intention, reason, grace)
  local path = P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks'
  local entry = call('HGET', path, token)
  local _, cpu, memory, mark, held = entry_parse(entry or '')
  if not mark then return false end
  --@mark stop_noted
  if mark ~= 's' then call('HSET', path, token, entry_text(id, cpu .. ':' .. memory, 's', held)) end
  attempt_change(id, { after = intention, reason = reason })
  local node = node_load(node_id)
  if node and node.incarnation == incarnation and node.state ~= 'dead' then
    order_add(node, 'stop ' .. token .. ' ' .. id .. ' ' .. grace)
  end
  return true
end
