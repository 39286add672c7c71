#!lua flags=allow-oom
--- array_forget: drop a stretch of the elements of an array that has ended (completed | failed | cancelled → none).
-- KEYS: prefix
-- ARGV: now_ms array_id from to
--   from, to: indexes, both included; the caller keeps the stretch short
-- Replies: how many tasks were dropped
-- Refuses: task_not_final
-- Promises: with its last element that has a record the array is dropped, too
--@include _forget

local id = ARGV[2]
local r = call('HMGET', P .. 'task:' .. id, 'F', 'j', 's')
if r[2] and not r[1] then
  return refuse('task_not_final', 'array ' .. id .. ' is ' .. (r[3] or 'pending') .. ': cancel it with --no-requeue first')
end

local found, dropped = {}, 0
for index = tonumber(ARGV[3]), tonumber(ARGV[4]) do
  local element = id .. '/' .. whole(index)
  local state, class = unpack(call('HMGET', P .. 'task:' .. element, 's', 'c'))
  if class then
    found[state] = found[state] or {}
    table.insert(found[state], element)
    dropped = dropped + 1
  end
end
for state, ids in pairs(found) do forget(state, ids) end
if call('ZSCORE', P .. 'finished:array', id) then forget('array', { id }) end
counts_flush()
return dropped
