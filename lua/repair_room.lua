#!lua flags=allow-oom
--- repair_room: let the schedulers look at a task that fits somewhere and was overlooked.
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: only `fresh` is written to: at worst a scheduler looks in vain
--@include _queue
--@include _repair

arguments_given(2)
local id = found_given(ARGV[2], 'task id')
if wrong() then return wrong() end

local record = call('HMGET', P .. 'task:' .. id, 's', 'c', 'n', 'j')
local array = record[4] and array_load(id)
local member = array and array_member(array) or (record[3] or '') .. id
if record[2] and not record[1] and call('ZSCORE', P .. 'pending:' .. record[2], member) then
  local score, head = first_of(P .. 'pending:' .. record[2])
  if call('ZADD', P .. 'fresh', score, string.sub(head, 1, PY.SEQUENCE) .. record[2]) == 1 then
    did('offered to the schedulers')
    wake()
  end
end
return repaired()
