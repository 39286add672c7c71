#!lua flags=allow-oom
--- node_poll: a node reads its orders.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked limit
-- Replies: the orders after `acked`, in full (as of task_finish), at most `limit`
-- Refuses: stale_incarnation
-- Promises: an order is kept until a later call acknowledges it
--@include _orders
--@include _commit

agents_arguments_given(5)
local id, incarnation = id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local acked, limit = number_given(ARGV[4], 'acked', 0, MOST_COUNT), batch_given(ARGV[5])
if wrong() then return wrong() end
local node, stale = node_of(id, incarnation)
if stale then return stale end
acknowledge(node, acked)
local orders = {}
orders_read(node, limit, orders)
commit(nil, id)
return orders
