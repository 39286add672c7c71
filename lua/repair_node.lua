#!lua flags=allow-oom
--- repair_node: recompute what a node has free from its ledger, and put it into exactly its indexes.
-- KEYS: prefix
-- ARGV: now_ms node_id
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: a node that is in order isn't written to; repeated it changes nothing; a node whose ledger holds more than it
--   has is given up, as if it had left
--@include _repair

node_recompute(clock(ARGV[1]), ARGV[2])
return repaired()
