#!lua
--- task_progress: keep how far running tasks say they are.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation *progress
--   pairs of token and a number from 0 to 1
-- Replies: how many were kept
-- Refuses: nothing
-- Promises: only attempts on the ledger may write
--@include _ledger
--@include _record

arguments_given(3, 2)
local node_id, incarnation = id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
for i = 4, #ARGV, 2 do fraction_given(ARGV[i + 1], 'progress') end
if wrong() then return wrong() end

local n = 0
for i = 4, #ARGV, 2 do
  local entry = call('HGET', P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks', ARGV[i])
  local id = entry_parse(entry or '')
  if id then
    attempt_change(id, { progress = ARGV[i + 1] })
    n = n + 1
  end
end
records_flush()
return n
