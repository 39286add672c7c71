#!lua flags=allow-oom
--- node_trim: drop nodes that have been gone for long.
-- KEYS: prefix
-- ARGV: now_ms older_than_ms limit
-- Replies: how many were dropped
-- Refuses: nothing
-- Promises: a node that a user drained is kept (the mark outlives it); one with allocations left is kept
--@include _base

local now, dropped = clock(ARGV[1]), 0
local GONE = P .. 'gone'
for _, id in ipairs(call('ZRANGEBYSCORE', GONE, '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, tonumber(ARGV[3]))) do
  local key = P .. 'node:' .. id
  local r = call('HMGET', key, 'incarnation', 'drain')
  if not r[2] and call('EXISTS', key .. ':' .. (r[1] or '') .. ':tasks') == 0 then
    call('DEL', key)
    call('ZREM', GONE, id)
    dropped = dropped + 1
  end
end
return dropped
