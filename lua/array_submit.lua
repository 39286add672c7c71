#!lua
--- array_submit: accept an array: its elements become tasks when they are placed (none → pending | delayed;
-- pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit watch first last id digest class priority delay payload *fields
--   first, last: the indexes of its elements; the others as of task_submit
-- Replies: a list with one number: 1 new, 0 the same request is here already, -1 the id is another request's
-- Refuses: nothing; at full memory Redis itself refuses (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; costs the same whatever the number of elements
--@include _place

local now = clock(ARGV[1])
local nonce, limit, watch = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local first, last = tonumber(ARGV[5]), tonumber(ARGV[6])
local id, digest, class, priority, delay, payload = ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local FIELDS = 13

local function accept()
  local key = P .. 'task:' .. id
  local known = call('HGET', key, 'q')
  if known then return known == digest and 0 or -1 end
  local number = last - first + 1
  local sequence = sequence_text(call('INCRBY', P .. 'seq', whole(number)) - number + 1)
  call('HSET', key, 'c', class, 'n', sequence, 'q', digest, 't', stamp(now), 'p', priority,
    'j', whole(first) .. '-' .. whole(last), 'jn', whole(first), unpack(ARGV, FIELDS))
  if watch ~= '' then call('HSET', key, 'w', watch) end
  if payload ~= '' then call('SET', P .. 'payload:' .. id, payload) end
  call('SADD', P .. 'arrays', id)
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
place_new(now, nonce, limit)
return { answer }
