#!lua flags=allow-oom
--- node_trim: drop nodes that have been gone for long.
-- KEYS: prefix
-- ARGV: now_ms older_than_ms limit
-- Replies: how many were dropped
-- Refuses: nothing
-- Promises: a node that a user drained is kept (the mark outlives it); one with allocations left is kept
--@include _check

arguments_given(3)
local now, older_than = time_given(ARGV[1]), number_given(ARGV[2], 'older_than_ms', 0, MOST_TIME)
local limit, dropped = batch_given(ARGV[3]), 0
if wrong() then return wrong() end

local GONE = P .. 'gone'
for _, id in ipairs(call('ZRANGEBYSCORE', GONE, '-inf', now - older_than, 'LIMIT', 0, limit)) do
  local key = P .. 'node:' .. id
  local incarnation, drain = unpack(call('HMGET', key, 'incarnation', 'drain'))
  if not drain and call('EXISTS', key .. ':' .. (incarnation or '') .. ':tasks') == 0 then
    call('DEL', key)
    call('ZREM', GONE, id)
    dropped = dropped + 1
  end
end
return dropped
