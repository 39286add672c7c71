#!lua
--- task_output: keep what a running task has printed.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation token data
-- Replies: 1 if it was kept, 0 if the attempt is over
-- Refuses: nothing
-- Promises: at most 128 KiB are kept; only the attempt on the ledger may write
--@include _ledger
--@include _output

local entry = call('HGET', P .. 'node:' .. ARGV[2] .. ':' .. ARGV[3] .. ':tasks', ARGV[4])
local id = entry_parse(entry or '')
if not id then return 0 end
output_append(id, ARGV[5])
return 1
