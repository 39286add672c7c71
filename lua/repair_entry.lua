#!lua flags=allow-oom
--- repair_entry: drop an entry of an index of tasks whose task isn't there, or has its place elsewhere.
-- KEYS: prefix
-- ARGV: now_ms index member
--   index: delayed, held, waiting, expiring, finished:STATE, pending:CLASS; arrays, live:ARRAY; placed (its attempt)
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: an entry with its task isn't touched
--@include _queue
--@include _repair

local INDEXES = {
  delayed = true, held = true, waiting = true, expiring = true, finished = true, pending = true, arrays = true, live = true, placed = true,
}

arguments_given(3)
local index, member = found_given(ARGV[2], 'index'), found_given(ARGV[3], 'member')
choice_given(string.match(index, '^%a*'), 'index', INDEXES)
if wrong() then return wrong() end
local kind, name = string.match(index, '^(%a+):?(.*)$')

-- The task that an entry stands for.
local function id_of()
  if kind == 'pending' then return (string.gsub(string.sub(member, PY.SEQUENCE + 1), '/$', '')) end
  if kind == 'live' then return name .. '/' .. member end
  return member
end

-- Whether the task has its place here.
local function is_right(id)
  local task = task_read(id)
  if not task then return false end
  if kind == 'placed' then return task.attempt ~= nil end -- what else is wrong with it, repair_task mends
  local request, state = task.request, task.state
  if not request.class then return false end
  local array = request.array and array_load(id)
  if kind == 'live' then return not FINAL[state] end
  if kind == 'expiring' then return request.expires and not task.attempt and not FINAL[state] and (not array or array_rest(array) > 0) end
  if kind == 'arrays' then return array and array_rest(array) > 0 end
  if index == 'finished:array' then return array and FINAL[state] end
  if state ~= (kind == 'finished' and name or kind) or (kind == 'finished' and request.array) then return false end
  if kind ~= 'pending' then return true end
  return request.class == name and (array and array_member(array) or (request.turn or '') .. id) == member
end

local function drop()
  if kind == 'placed' then return read('HDEL', P .. 'placed', member) == 1 end
  if kind == 'live' or kind == 'arrays' then return call('SREM', P .. index, member) == 1 end
  if not call('ZSCORE', P .. index, member) then return false end
  if kind ~= 'pending' then return call('ZREM', P .. index, member) == 1 end
  queue_remove(name, member)
  queue_flush()
  return true
end

if not is_right(id_of()) and drop() then did('entry without its task dropped') end
return repaired()
