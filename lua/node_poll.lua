#!lua flags=allow-oom
--- node_poll: a node reads its orders.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked limit
-- Replies: the orders after `acked`, in full, at most `limit`
-- Refuses: stale_incarnation
-- Promises: an order is kept until a later call acknowledges it
--@include _orders

local id, incarnation = ARGV[2], ARGV[3]
local node, stale = node_of(id, incarnation)
if stale then return stale end
acknowledge(node, tonumber(ARGV[4]))
local orders = {}
orders_read(node, tonumber(ARGV[5]), orders)
nodes_flush(id)
return orders
