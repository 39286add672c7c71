#!lua flags=allow-oom
--- array_forget: drop a stretch of the elements of an array that has ended (completed | failed | cancelled → none).
-- KEYS: prefix
-- ARGV: now_ms array_id from to
--   from, to: indexes, both included: at most 1,000 elements
-- Replies: how many tasks were dropped
-- Refuses: task_not_final
-- Promises: with its last element that has a record the array is dropped, too
--@include _forget
--@include _check
--@include _commit

arguments_given(4)
local id = id_given(ARGV[2], 'array id')
local from, to = number_given(ARGV[3], 'from', 0, PY.MOST_INDEX), number_given(ARGV[4], 'to', 0, PY.MOST_INDEX)
if to - from >= MOST_BATCH then complain('invalid_value', 'a stretch has at most ' .. MOST_BATCH .. ' elements') end
if wrong() then return wrong() end

local ended_at, extent, array_state = unpack(fields_of(P .. 'task:' .. id, 'F', 'j', 's'))
if extent and not ended_at then
  return refuse('task_not_final', 'array ' .. id .. ' is ' .. (array_state or 'pending') .. ': cancel it with --no-requeue first')
end

local found, dropped = {}, 0
for index = from, to do
  local element = id .. '/' .. whole(index)
  local state, class = unpack(fields_of(P .. 'task:' .. element, 's', 'c'))
  if class and state then
    found[state] = found[state] or {}
    table.insert(found[state], element)
    dropped = dropped + 1
  end
end
for state, ids in pairs(found) do forget(state, ids) end
if call('ZSCORE', P .. 'finished:array', id) then forget('array', { id }) end
commit()
return dropped
