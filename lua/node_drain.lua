#!lua flags=allow-oom
--- node_drain: a node gets no new tasks (up | faulty → draining).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation keep requeue grace_ms cursor
--   incarnation: only this one ('' any); keep 1: the mark outlives a restart of the node
--   requeue 1: its tasks are stopped too and go back to their old places; a batch a call, from cursor ('0' first)
-- Replies: {state, cursor}: call again with the cursor until it is '0'
-- Refuses: node_not_found, stale_incarnation
-- Promises: repeated it changes nothing; costs the tasks no retry
--@include _stop
--@include _reservation
--@include _commit

arguments_given(7)
local now, id = time_given(ARGV[1]), id_given(ARGV[2], 'node id')
local incarnation = ARGV[3] ~= '' and id_given(ARGV[3], 'incarnation') or ''
local keep, requeue = flag_given(ARGV[4], 'keep'), flag_given(ARGV[5], 'requeue')
local grace, from = whole(duration_given(ARGV[6], 'grace_ms')), cursor_given(ARGV[7])
if wrong() then return wrong() end

local key = P .. 'node:' .. id
local node = node_load(id)
if not node then return refuse('node_not_found', 'no node ' .. id) end
if incarnation ~= '' and node.incarnation ~= incarnation then
  return refuse('stale_incarnation', 'node ' .. id .. ' is registered anew')
end
if keep then call('HSET', key, 'drain', '1') end
if node.state == 'up' or node.state == 'faulty' then
  node_pause(now, node, 'draining')
  event('draining', id, id)
end
local cursor = '0'
if requeue and node.state ~= 'dead' then
  local next_cursor, entries = unpack(call('HSCAN', node.ledger, from, 'COUNT', 100))
  cursor = next_cursor
  for i = 1, #entries, 2 do
    local token, task_id, _, _, mark = entries[i], entry_parse(entries[i + 1])
    if mark ~= 's' then
      stop_attempt(task_id, id, node.incarnation, token, 'back', 'stopping', grace)
    end
  end
end
commit(now)
return { node.state, cursor }
