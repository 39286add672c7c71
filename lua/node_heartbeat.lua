#!lua flags=allow-oom
--- node_heartbeat: a node says that it lives.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked
-- Replies: {state, ordered}: the number of the last order; more than the agent has seen: it polls
-- Refuses: stale_incarnation (declared dead, or registered anew: it must stop its tasks)
-- Promises: Redis' clock alone decides; works at full memory
--@include _ledger
--@include _observe

local now, id, incarnation = clock(ARGV[1]), ARGV[2], ARGV[3]
local node, stale = node_of(id, incarnation)
if stale then return stale end
observed(now, observe(now))
local ttl = tonumber(call('HGET', P .. 'node:' .. id, 'ttl'))
call('ZADD', P .. 'nodes', now + ttl, id)
call('SET', P .. 'node:' .. id .. ':alive', incarnation, 'PX', ttl)
acknowledge(node, tonumber(ARGV[4]))
nodes_flush(id)
return { node.state, node.ordered }
