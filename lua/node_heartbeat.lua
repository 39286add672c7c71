#!lua flags=allow-oom
--- node_heartbeat: a node says that it lives, and what it believes it holds.
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked digest
--   digest: of the ledger as the agent knows it (ledger_digest below); '' while something is on its way
-- Replies: {state, ordered, agrees}: the number of the last order (more than the agent has seen: it polls; fewer: Redis
--   has lost writes); 1 the ledger is the same, 0 it isn't, -1 not compared
-- Refuses: stale_incarnation (declared dead, or registered anew: it must stop its tasks)
-- Promises: Redis' clock alone decides; works at full memory
--@include _ledger
--@include _observe
--@include _commit

-- The number of entries, and the sum of a hash of each, without what it holds beside CPU and memory: in any order, the same on
-- both sides (node.py: digest).
local function ledger_digest(node)
  if node.running == 0 then return '0:0' end
  local sum = 0
  local flat = read('HGETALL', node.ledger)
  if flat.err then return '' end
  for i = 1, #flat, 2 do
    local text, hash = flat[i] .. ' ' .. (string.match(flat[i + 1], '^([^:]*:%d*:%d*:%a):') or flat[i + 1]), 0
    for at = 1, #text, 4 do -- four bytes at a time, the first one least
      local a, b, c, d = string.byte(text, at, at + 3)
      hash = (hash * 1000003 + a + (b or 0) * 256 + (c or 0) * 65536 + (d or 0) * 16777216) % 4294967296
    end
    sum = sum + hash
  end
  return string.format('%d:%.0f', #flat / 2, sum)
end

agents_arguments_given(5)
local now, id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local acked, digest = number_given(ARGV[4], 'acked', 0, MOST_COUNT), word_given(ARGV[5], 'digest', 64)
if wrong() then return wrong() end
local node, stale = node_of(id, incarnation)
if stale then return stale end
observed(now, observe(now))
local ttl = (whole_of(call('HGET', P .. 'node:' .. id, 'ttl')) or TTL)
if type(read('ZADD', P .. 'nodes', now + ttl, id)) == 'table' then -- of another type: each node enters itself again
  call('DEL', P .. 'nodes')
  call('ZADD', P .. 'nodes', now + ttl, id)
end
call('SET', P .. 'node:' .. id .. ':alive', incarnation, 'PX', ttl)
local agrees = -1
if digest ~= '' and acked == node.ordered then agrees = ledger_digest(node) == digest and 1 or 0 end
acknowledge(node, acked)
commit(now, id)
return { node.state, node.ordered, agrees }
