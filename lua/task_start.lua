#!lua flags=allow-oom
--- task_start: a node reports that attempts run (assigned → running).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation *starts
--   each start: TOKEN, or TOKEN:RAN with RAN in ms
-- Replies: how many were recorded; tokens that are no longer on the ledger are passed over
-- Refuses: stale_incarnation
-- Promises: repeated it changes nothing
--@include _started
--@include _commit

agents_arguments_given(3, 1)
local now, node_id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
if wrong() then return wrong() end
local node, stale = node_of(node_id, incarnation)
if stale then return stale end

local number = attempts_started(now, node, table.concat(ARGV, ' ', 4))
commit(now, node_id)
return number
