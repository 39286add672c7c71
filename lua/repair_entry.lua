#!lua flags=allow-oom
--- repair_entry: drop an entry of an index of tasks whose task isn't there, or has its place elsewhere.
-- KEYS: prefix
-- ARGV: now_ms index member
--   index: delayed, held, finished:STATE, pending:CLASS; arrays, live:ARRAY
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: an entry with its task isn't touched
--@include _queue
--@include _repair

local INDEXES = { delayed = true, held = true, finished = true, pending = true, arrays = true, live = true }

arguments_given(3)
local index, member = found_given(ARGV[2], 'index'), found_given(ARGV[3], 'member')
choice_given(string.match(index, '^%a*'), 'index', INDEXES)
if wrong() then return wrong() end
local kind, name = string.match(index, '^(%a+):?(.*)$')
local FINAL = { completed = true, failed = true, cancelled = true }

-- The task that an entry stands for.
local function id_of()
  if kind == 'pending' then return (string.gsub(string.sub(member, PY.SEQUENCE + 1), '/$', '')) end
  if kind == 'live' then return name .. '/' .. member end
  return member
end

-- Whether the task has its place here.
local function is_right(id)
  local key = P .. 'task:' .. id
  if key_type(key) ~= 'hash' then return false end
  local state, class, sequence, extent = unpack(call('HMGET', key, 's', 'c', 'n', 'j'))
  if not class then return false end
  local array = extent and array_load(id)
  state = state or 'pending'
  if kind == 'live' then return not FINAL[state] end
  if kind == 'arrays' then return array and array_rest(array) > 0 end
  if index == 'finished:array' then return array and FINAL[state] end
  if state ~= (kind == 'finished' and name or kind) then return false end
  if kind ~= 'pending' then return true end
  return class == name and (array and array_member(array) or (sequence or '') .. id) == member
end

local function drop()
  if kind == 'live' or kind == 'arrays' then return call('SREM', P .. index, member) == 1 end
  if not call('ZSCORE', P .. index, member) then return false end
  if kind ~= 'pending' then return call('ZREM', P .. index, member) == 1 end
  queue_remove(name, member)
  queue_flush()
  return true
end

if not is_right(id_of()) and drop() then did('entry without its task dropped') end
return repaired()
