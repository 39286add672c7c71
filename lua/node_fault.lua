#!lua flags=allow-oom
--- node_fault: a fault of its machine keeps a node from beginning tasks, or is gone (up ↔ faulty).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation text
--   text: what the fault is ('' there is none any more)
-- Replies: the state
-- Refuses: stale_incarnation
-- Promises: repeated it changes nothing; what runs there goes on; a fault and a drain know nothing of each other: neither
--   ends the other, and a draining node with a fault stays draining; a fault ends with its incarnation
--@include _reservation
--@include _commit

agents_arguments_given(4)
local now, id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local text = bytes_given(ARGV[4], 'the fault', 4096)
if wrong() then return wrong() end

local key = P .. 'node:' .. id
local node, stale = node_of(id, incarnation)
if stale then return stale end
local known = call('HGET', key, 'fault') or ''
if text == known then return node.state end
if text ~= '' then
  call('HSET', key, 'fault', text)
  --@mark fault_begins
  if node.state == 'up' then node_pause(now, node, 'faulty') end
  if known == '' then event('faulty', id, id, nil, (string.gsub(string.sub(text, 1, 200), '[%s%c]+', '_'))) end
else
  call('HDEL', key, 'fault')
  --@mark fault_ends
  if node.state == 'faulty' then node_resume(now, node) end
  event('recovered', id, id)
end
commit(now)
return node.state
