#!lua flags=allow-oom
--- node_register: a node joins, or comes back as a new incarnation (none | dead → up | draining).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation cpu memory ttl_ms host labels features folders resources
--   labels: those that it carries from now on, as in class names: +gpu+ssd ('' none); features: those that it knows;
--   folders: its own and those that requests may name, with a tab between two: only explain reads it;
--   resources: what it has beside CPU and memory: gpu=0,1,2,3 scratch=#200000000 ('' nothing)
-- Replies: the state: up, or draining where a user asked for it before
-- Refuses: node_alive (another incarnation's heartbeat hasn't run out), stale_incarnation (this one was given up: what it
--   held is still to be given back), feature_missing (it doesn't know what is in use)
-- Promises: the same incarnation again changes nothing; what an older incarnation held stays on its own ledger until
--   it is reaped: capacity is never counted twice
--@include _gone
--@include _observe
--@include _features
--@include _commit

arguments_given(11)
local now, id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local cpu, memory = number_given(ARGV[4], 'cpu', 1, PY.MOST_CPU), number_given(ARGV[5], 'memory', 1, PY.MOST_MEMORY)
local ttl, host = number_given(ARGV[6], 'ttl_ms', 1, MOST_DURATION), word_given(ARGV[7], 'host', 255)
local labels, known = labels_given(ARGV[8]), 'PY.SCHEMA' .. labels_given(ARGV[9])
local folders, resources = bytes_given(ARGV[10], 'folders', 8192), resources_given(ARGV[11])
if wrong() then return wrong() end
local missing = feature_missing(known)
if missing then return missing end
local key = P .. 'node:' .. id
local node = node_load(id)
if node and node.incarnation == incarnation then
  if node.state ~= 'dead' then return node.state end
  --@mark given_up
  return refuse('stale_incarnation', 'this registration of node ' .. id .. ' was given up: register a new one')
end
if node and node.state ~= 'dead' then
  local runs_out = tonumber(call('ZSCORE', P .. 'nodes', id) or 0)
  if runs_out > now then
    return refuse('node_alive', 'node ' .. id .. ' is alive on ' .. (call('HGET', key, 'host') or 'another machine')
      .. ': choose another --node-id, or wait until its heartbeat has run out')
  end
  --@mark old_incarnation
  node_gone(now, node, 'crashed')
end
observed(now, observe(now))
if not node then -- there was none, or its record can't be read: what it may hold is given back
  local before = field_of(key, 'incarnation')
  if before and before ~= incarnation then call('SADD', P .. 'lost', id .. ':' .. before .. ':left') end
  if type(read('HLEN', key)) == 'table' then call('DEL', key) end
end
--@mark drain_kept
local state = call('HGET', key, 'drain') and 'draining' or 'up'
call('HSET', key, 'state', state, 'incarnation', incarnation, 'labels', labels, 'total_cpu', whole(cpu), 'total_memory', whole(memory),
  'free_cpu', whole(cpu), 'free_memory', whole(memory), 'running', 0, 'started', 0, 'ordered', 0, 'acked', 0,
  'surplus', 0, 'ttl', ttl, 'host', host, 'registered', now, 'knows', known,
  'folders', folders, 'has', whole(cpu) .. ':' .. whole(memory) .. labels .. (resources ~= '' and ' ' .. resources or ''))
call('HDEL', key, 'ends', 'fault', 'drivers', 'resources', 'free_resources')
if setting('drivers') then call('HSET', key, 'drivers', '1') end
if resources ~= '' then
  call('HSET', key, 'resources', resources, 'free_resources', resources_text(resources_parse(resources)))
end
call('ZREM', P .. 'gone', id)
call('ZADD', P .. 'nodes', now + ttl, id)
call('SET', key .. ':alive', incarnation, 'PX', ttl)
if state == 'up' then node_offer(now, node_reload(id)) end
event('joined', id, id, nil, whole(cpu) .. ':' .. whole(memory))
commit(now)
return state
