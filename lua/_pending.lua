--@include _queue
-- Into its queue: a task, or what is left of an array.

local function record_read(id, names)
  local r = call('HMGET', P .. 'task:' .. id, unpack(names))
  local record = {}
  for i, name in ipairs(names) do record[name] = r[i] or nil end
  return record
end

local function array_name(id)
  return string.match(id, '^(.+)/(%d+)$')
end

-- How a task stands in its queue, and for how many: an array for those that haven't been made. (`sequence`: its own, or
-- that of an array's first element.)
local function entry_of(id, record, sequence)
  if not record.j then return sequence .. id, 1 end
  local array = array_load(id)
  array.base = tonumber(sequence, 16)
  return array_member(array), array_rest(array)
end

-- Into its queue; whatever an earlier attempt left in the record goes, but its error.
local function task_pending(id, record, sequence)
  local key = P .. 'task:' .. id
  call('HDEL', key, 's', 'k', 'i', 'T', 'S', 'F', 'A', 'N', 'm', 'b', 'g', 'd', 'x', 'R')
  if sequence ~= record.n then call('HSET', key, 'n', sequence) end
  local member, number = entry_of(id, record, sequence)
  queue_add(record.c, score_of(tonumber(record.p or 0), tonumber(record.t)), member, number)
end
