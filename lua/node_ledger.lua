#!lua flags=no-writes
--- node_ledger: what Redis believes that a node holds, a batch at a time.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation cursor
--   cursor: '0' first, then as answered
-- Replies: {cursor, ordered, entries}: '0' at the end; the number of the last order; token, entry, token, entry …
-- Refuses: stale_incarnation
-- Promises: reads only; what is on the ledger from the first batch to the last is in a reply (HSCAN)
--@include _ledger

agents_arguments_given(4)
local id, incarnation = id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local cursor = cursor_given(ARGV[4])
if wrong() then return wrong() end
local node, stale = node_of(id, incarnation)
if stale then return stale end
local next_cursor, entries = unpack(call('HSCAN', node.ledger, cursor, 'COUNT', 100))
return { next_cursor, node.ordered, entries }
