#!lua flags=allow-oom
--- node_leave: a node says goodbye, or its parent says that the agent died (up | draining | faulty → dead).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation crashed
--   crashed 1: tasks that had started there are charged a crash
-- Replies: 1, or 0 if this incarnation was gone already
-- Refuses: nothing
-- Promises: repeated it changes nothing; its tasks are given back by node_reap
--@include _gone

local now, id, incarnation = clock(ARGV[1]), ARGV[2], ARGV[3]
local node = node_load(id)
if not node or node.incarnation ~= incarnation or node.state == 'dead' then return 0 end
node_gone(now, node, ARGV[4] == '1' and 'crashed' or 'left')
events_flush()
return 1
