#!lua flags=allow-oom
--- task_resize: a running task gives resources back or asks for more; it never waits (promise 5).
-- KEYS: prefix
-- ARGV: now_ms nonce node_id incarnation token number cpu memory limit
--   cpu and memory (MB) are absolute targets, '' leaves them; number grows with each call of an attempt
-- Replies: {cpu, memory}: the allocation as it is now; unchanged where the growth isn't free, goes beyond the task's
--   maximum, or the number isn't new
-- Refuses: stale_incarnation
-- Promises: repeated it changes nothing; what is given back is offered in the same call
--@include _fill

local now, nonce, node_id, incarnation, token = clock(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local node, stale = node_of(node_id, incarnation)
if stale then return stale end
local id, cpu, memory, mark = entry_parse(call('HGET', node.path .. ':tasks', token) or '')
if not id then return { 0, 0 } end

local record = call('HMGET', P .. 'task:' .. id, 'c', 'X', 'Y', 'N')
local need = class_of(record[1])
local to_cpu = ARGV[7] ~= '' and tonumber(ARGV[7]) or cpu
local to_memory = ARGV[8] ~= '' and tonumber(ARGV[8]) or memory
local most_cpu = math.max(tonumber(record[2]) or 0, need.cpu)
local most_memory = math.max(tonumber(record[3]) or 0, need.memory)
local refused = mark == 's' or tonumber(ARGV[6]) <= tonumber(record[4] or 0)
  or to_cpu < 1 or to_memory < 1 or to_cpu > most_cpu or to_memory > most_memory
  or to_cpu - cpu > node.cpu or to_memory - memory > node.memory
if refused then return { cpu, memory } end

node_touch(node)
node.cpu, node.memory = node.cpu - (to_cpu - cpu), node.memory - (to_memory - memory)
node.entries = { token, id .. ':' .. to_cpu .. ':' .. to_memory .. ':' .. mark }
call('HSET', P .. 'task:' .. id, 'A', to_cpu .. ':' .. to_memory, 'N', ARGV[6])
event('resized', id, node_id, nil, to_cpu .. ':' .. to_memory)
if to_cpu < cpu or to_memory < memory then
  local _, undone = fill(now, nonce, node, tonumber(ARGV[9]))
  if undone then wake() end
end
queue_flush()
nodes_flush()
counts_flush()
events_flush()
return { to_cpu, to_memory }
