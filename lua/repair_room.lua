#!lua flags=allow-oom
--- repair_room: let the schedulers look at a task that fits somewhere and was overlooked.
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: only `fresh` is written to, and that there are tasks without cores: at worst a scheduler looks in vain
--@include _queue
--@include _repair

arguments_given(2)
local id = found_given(ARGV[2], 'task id')
if wrong() then return wrong() end

local task = task_read(id)
local request = task and task.request or {}
local array = request.array and array_load(id)
local member = array and array_member(array) or (request.turn or '') .. id
local class = request.class
if class and task.state == 'pending' and call('ZSCORE', P .. 'pending:' .. class, member) then
  if string.byte(class) == 48 then setting_say('drivers') end
  local score, head = first_of(P .. 'pending:' .. class)
  if call('ZADD', P .. 'fresh', score, string.sub(head, 1, PY.SEQUENCE) .. class) == 1 then
    did('offered to the schedulers')
    wake()
  end
end
return repaired()
