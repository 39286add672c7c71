#!lua flags=allow-oom
--- repair_node: recompute what a node has free from its ledger, and put it into exactly its indexes.
-- KEYS: prefix
-- ARGV: now_ms node_id *labels
--   labels: those in whose indexes it seems to stand, resources as *NAME
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: a node that is in order isn't written to; repeated it changes nothing; a node whose ledger holds more than it
--   has is given up, as if it had left
--@include _repair

arguments_given(2, 1)
local now, id = time_given(ARGV[1]), found_given(ARGV[2], 'node id')
if wrong() then return wrong() end

local labels = {}
for i = 3, #ARGV do labels[#labels + 1] = ARGV[i] end
node_recompute(now, id, labels)
return repaired(now)
