#!lua
--- task_output: keep what a running task has printed.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation token data
-- Replies: 1 if it was kept, 0 if the attempt is over
-- Refuses: nothing
-- Promises: at most twice what the task asks for is kept; only the attempt on the ledger may write
--@include _ledger
--@include _output

arguments_given(5)
local node_id, incarnation = id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local token, data = id_given(ARGV[4], 'token'), bytes_given(ARGV[5], 'the output', MOST_OUTPUT)
if wrong() then return wrong() end

local entry = call('HGET', P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks', token)
local id = entry_parse(entry or '')
if not id then return 0 end
output_append(id, data)
return 1
