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

local array = task_read(id)
if array and array.request.array and not array.outcome then
  return refuse('task_not_final', 'array ' .. id .. ' is ' .. array.state .. ': cancel it with --no-requeue first')
end

local found, dropped, elements = {}, 0, {}
for index = from, to do elements[#elements + 1] = id .. '/' .. whole(index) end
records_fetch(elements)
for _, element in ipairs(elements) do
  local task = task_read(element)
  if task and FINAL[task.state] then
    found[task.state] = found[task.state] or {}
    table.insert(found[task.state], element)
  end
end
for state, ids in pairs(found) do
  ids = unneeded(ids)
  forget(state, ids)
  dropped = dropped + #ids
end
if call('ZSCORE', P .. 'finished:array', id) then forget('array', unneeded({ id })) end
commit()
return dropped
