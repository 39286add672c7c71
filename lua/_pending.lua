--@include _queue
-- Into its queue: a task, or what is left of an array.

local function record_read(id, names)
  local r = fields_of(P .. 'task:' .. id, unpack(names))
  local record = {}
  for i, name in ipairs(names) do record[name] = r[i] or nil end
  return record
end

local function array_name(id)
  return string.match(id, '^(.+)/(%d+)$')
end

local function is_sequence(text)
  return text and #text == PY.SEQUENCE and string.find(text, '^%x+$') ~= nil
end

-- The first field of a record that can't be what it stands for; nil: all can.
local function unreadable_field(id)
  local numbers = { 't', 'd', 'r', 'y', 'z', 'C', 'u', 'l', 'X', 'Y', 'F' }
  local r = record_read(id, { 'c', 'n', 'p', 'j', 'O', unpack(numbers) })
  if not class_of(r.c or '') then return 'c', r.c end
  if not is_sequence(r.n) then return 'n', r.n end
  if r.O and not class_of(r.O) then return 'O', r.O end
  if r.p and not whole_of(string.gsub(r.p, '^%-', '')) then return 'p', r.p end
  if r.j and not array_load(id) then return 'j', r.j end
  for _, name in ipairs(numbers) do
    if r[name] and not whole_of(r[name]) then return name, r[name] end
  end
end

-- A task that can't be placed, nor anything else be done with, as its record can't be read: it has failed, and says why.
-- (Of an array: what isn't made of it.)
local function task_unreadable(now, id)
  local key = P .. 'task:' .. id
  local name, value = unreadable_field(id)
  local why = name and 'its record was damaged: ' .. name .. (value and ' is ' .. legible(value) or ' is missing')
    or 'its record was damaged'
  local channels, extent = unpack(fields_of(key, 'w', 'j'))
  if extent then
    call('HDEL', key, 'j', 'jn', 'ja', 'jx', 'jt', 'jv', 'jco', 'jfa', 'jca', 'jfo', 'jw')
    call('UNLINK', P .. 'live:' .. id, P .. 'apart:' .. id)
    read('SREM', P .. 'arrays', id)
  end
  call('HDEL', key, 'k', 'i', 'A', 'b', 'd', 'O')
  call('HSET', key, 's', 'failed', 'F', stamp(now), 'm', 'unreadable', 'E', why)
  if name == 'c' then call('HSET', key, 'c', '1:1') end
  read('ZADD', P .. 'finished:failed', stamp(now), id)
  read('SREM', P .. 'suspects', id)
  count('failed', 1)
  event('failed', legible(id), nil, nil, 'unreadable')
  for channel in string.gmatch(channels or '', '[^,]+') do call('PUBLISH', P .. 'done:' .. channel, id .. ' failed') end
  local array_id, index = array_name(id)
  if array_id and array_load(array_id) then
    read('HINCRBY', P .. 'task:' .. array_id, 'jfa', 1)
    read('SREM', P .. 'live:' .. array_id, index)
  end
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
  if not is_sequence(sequence) then sequence = next_sequence() end
  if sequence ~= record.n then call('HSET', key, 'n', sequence) end
  local member, number = entry_of(id, record, sequence)
  queue_add(record.c, score_of(tonumber(record.p) or 0, tonumber(record.t) or 0), member, number)
end
