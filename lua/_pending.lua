--@include _queue
-- Into and out of the waiting states, for the scripts that move single tasks.

local WAITING_FIELDS = { 's', 'c', 'n', 'p', 't', 'd', 'o', 'k', 'i', 'b', 'u', 'w', 'm', 'O' }

local function record_read(id, names)
  local r = call('HMGET', P .. 'task:' .. id, unpack(names))
  local record = {}
  for i, name in ipairs(names) do record[name] = r[i] or nil end
  return record
end

-- The record of a known task with its state, or nil. (`pending` is the default and is left out.)
local function waiting_record(id)
  local record = record_read(id, WAITING_FIELDS)
  if not record.c then return nil end
  record.s = record.s or 'pending'
  return record
end

-- Into its queue; whatever an earlier attempt left in the record goes, but its error.
local function task_pending(id, record, sequence)
  local key = P .. 'task:' .. id
  call('HDEL', key, 's', 'k', 'i', 'T', 'S', 'F', 'A', 'N', 'm', 'b', 'g', 'd', 'x', 'R')
  if sequence ~= record.n then call('HSET', key, 'n', sequence) end
  queue_add(record.c, score_of(tonumber(record.p or 0), tonumber(record.t)), sequence .. id)
end

-- Out of the index of its waiting state.
local function take_out(id, record)
  if record.s == 'pending' then
    queue_remove(record.c, record.n .. id)
  elseif record.s == 'delayed' or record.s == 'held' then
    call('ZREM', P .. record.s, id)
  else -- completed, failed, cancelled
    call('ZREM', P .. 'finished:' .. record.s, id)
  end
end
