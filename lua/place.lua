#!lua flags=allow-oom
--- place: find nodes for pending tasks (pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit
-- Replies: {placed, more, items}: how many were placed, 1 if work is left in `dirty` or `fresh`, and which
--   (ID@NODE#ATTEMPT, with spaces between)
-- Refuses: nothing
-- Promises: the earliest task first; no node above its total; at most `limit` placings and as many look-ups
--@include _place

local n, more = place(clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]))
nodes_flush()
counts_flush()
local items = table.concat(happened.placed or {}, ' ')
events_flush()
return { n, more and 1 or 0, items }
