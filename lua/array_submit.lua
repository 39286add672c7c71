#!lua
--- array_submit: accept an array: its elements become tasks when they are placed (none → pending | delayed;
-- pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit watch first last id digest class priority delay payload *fields
--   first, last: the indexes of its elements; the others as of task_submit
-- Replies: a list with one number: 1 new, 0 the same request is here already, -1 the id is another request's, -2 it would be
--   one label set too many in the queues: nothing of it was written
-- Refuses: counter_full; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; costs the same whatever the number of elements
--@include _place
--@include _request

local ID_AT, FIELDS = 7, 13

arguments_given(FIELDS - 1, 2)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
local watch = ARGV[4] ~= '' and id_given(ARGV[4], 'channel') or ''
local first, last = number_given(ARGV[5], 'first', 0, PY.MOST_INDEX), number_given(ARGV[6], 'last', 0, PY.MOST_INDEX)
if last < first or last - first >= PY.MOST_ELEMENTS then
  complain('invalid_value', 'an array has 1 to ' .. PY.MOST_ELEMENTS .. ' elements, not those from ' .. first .. ' to ' .. last)
end
if not wrong() then
  ids_given({ ARGV[ID_AT] })
  request_given(ID_AT, FIELDS, #ARGV)
end
if wrong() then return wrong() end
local id, digest, class, priority, delay, payload = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]

local function accept()
  local key = P .. 'task:' .. id
  local known = call('HGET', key, 'q')
  --@mark same_request
  if known then return known == digest and 0 or -1 end
  if delay == '0' and not may_wait(class) then return -2 end
  local number = last - first + 1
  local sequence = sequences_new(number)
  if not sequence then return nil end
  call('HSET', key, 'c', class, 'n', sequence_text(sequence), 'q', digest, 't', stamp(now), 'p', priority,
    'j', whole(first) .. '-' .. whole(last), 'jn', whole(first), unpack(ARGV, FIELDS))
  if watch ~= '' then call('HSET', key, 'w', watch) end
  if payload ~= '' then call('SET', P .. 'payload:' .. id, payload) end
  read('SADD', P .. 'arrays', id)
  if delay == '0' then
    queue_add(class, score_of(tonumber(priority), now), array_member(array_load(id)), number)
  else
    local due = now + tonumber(delay)
    call('HSET', key, 's', 'delayed', 'd', due, 'D', delay)
    call('ZADD', P .. 'delayed', due, id)
  end
  count('submitted', number)
  event('submitted', id, nil, nil, whole(first) .. '-' .. whole(last))
  return 1
end

local answer = accept()
if not answer then return sequences_used_up() end
place_new(now, nonce, limit)
return { answer }
