#!lua flags=allow-oom
--- node_drain: a node gets no new tasks (up | faulty → draining).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation keep requeue grace_ms cursor
--   incarnation: only this one ('' any); keep 1: the mark outlives a restart of the node
--   requeue 1: its tasks are stopped too and go back to their old places; a bite a call, from cursor ('0' first)
-- Replies: {state, cursor}: call again with the cursor until it is '0'
-- Refuses: node_not_found, stale_incarnation
-- Promises: repeated it changes nothing; costs the tasks no retry
--@include _stop
--@include _reservation

local now, id, incarnation = clock(ARGV[1]), ARGV[2], ARGV[3]
local key = P .. 'node:' .. id
local node = node_load(id)
if not node then return refuse('node_not_found', 'no node ' .. id) end
if incarnation ~= '' and node.incarnation ~= incarnation then
  return refuse('stale_incarnation', 'node ' .. id .. ' is registered anew')
end
if ARGV[4] == '1' then call('HSET', key, 'drain', '1') end
if node.state == 'up' or node.state == 'faulty' then
  node_pause(now, node, 'draining')
  event('draining', id, id)
end
local cursor = '0'
if ARGV[5] == '1' and node.state ~= 'dead' then
  local found = call('HSCAN', node.path .. ':tasks', ARGV[7], 'COUNT', 100)
  cursor = found[1]
  for i = 1, #found[2], 2 do
    local task_id, _, _, mark = entry_parse(found[2][i + 1])
    if mark ~= 's' then
      stop_attempt(task_id, id, node.incarnation, found[2][i], 'back', 'stopping', ARGV[6])
    end
  end
end
nodes_flush()
events_flush()
return { node.state, cursor }
