#!lua flags=allow-oom
--- node_leave: a node says goodbye, or its parent says that the agent died (up | draining | faulty → dead).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation crashed
--   crashed 1: tasks that had started there are charged a crash
-- Replies: 1, or 0 if this incarnation was gone already
-- Refuses: nothing
-- Promises: repeated it changes nothing; its tasks are given back by node_reap
--@include _gone
--@include _commit

arguments_given(4)
local now, id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local crashed = flag_given(ARGV[4], 'crashed')
if wrong() then return wrong() end
local node = node_load(id)
--@mark leaver
if not node or node.incarnation ~= incarnation or node.state == 'dead' then return 0 end
node_gone(now, node, crashed and 'crashed' or 'left')
commit(now)
return 1
