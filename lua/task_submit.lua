#!lua
--- task_submit: accept new tasks, and place them at once if there is room (none → pending | delayed; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit watch *tasks
--   limit: placings at most; what is left is the schedulers'
--   each task: id, digest, class, priority, delay (ms), long payload or '', n, then n record fields and values
-- Replies: a list with one number a task: 1 new, 0 the same request is here already, -1 the id is another request's,
--   -2 it would be one label set too many in the queues: nothing of it was written
-- Refuses: counter_full; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; work grows with the tasks given, not with those waiting
--@include _place
--@include _request

local FIRST, FIXED = 5, 7
local COUNTS = { -- of the arguments that a task's fields are: so many fields there are
  ['2'] = 2, ['4'] = 4, ['6'] = 6, ['8'] = 8, ['10'] = 10, ['12'] = 12, ['14'] = 14, ['16'] = 16, ['18'] = 18, ['20'] = 20,
}

-- How many tasks are given; each is looked at. What makes up most tasks, and what one has in common with those before it,
-- is let pass by comparisons: this is as much of a submit's cost as may be.
local function tasks_given()
  local given, last, at, ids, tasks = ARGV, #ARGV, FIRST, {}, 0
  while at <= last do
    local fields = COUNTS[given[at + 6]] or last
    local after = at + FIXED + fields
    if after > last + 1 then
      complain('invalid_value', 'a task is cut short, or has ' .. shown(given[at + 6] or '') .. ' arguments for fields')
      return 0
    end
    tasks = tasks + 1
    ids[tasks] = given[at]
    if fields ~= 4 or not were_given(given[at + 2], given[at + 3], given[at + 8]) or given[at + 4] ~= '0'
      or given[at + 5] ~= '' or given[at + 7] ~= 'f' or given[at + 9] ~= 'a'
      or #given[at + 10] > MOST_SHORT or #given[at + 1] > MOST_DIGEST or #given[at] > MOST_ID then
      request_given(at, at + FIXED, after - 1)
    end
    at = after
  end
  ids_given(ids)
  return tasks
end

arguments_given(FIRST - 1, 1)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
local watch = ARGV[4] ~= '' and id_given(ARGV[4], 'channel') or ''
local tasks = tasks_given()
if wrong() then return wrong() end

local function accept(id, digest, class, priority, delay, payload, first, n)
  local key = P .. 'task:' .. id
  local known = call('HGET', key, 'q')
  --@mark same_request
  if known then return known == digest and 0 or -1 end
  if delay == '0' and not may_wait(class) then return -2 end
  local number = next_sequence()
  local record = { 'c', class, 'n', number, 'q', digest, 't', stamp(now) }
  if priority ~= '0' then record[#record + 1], record[#record + 2] = 'p', priority end
  if watch ~= '' then record[#record + 1], record[#record + 2] = 'w', watch end
  for j = first, first + n - 1 do record[#record + 1] = ARGV[j] end
  if payload ~= '' then call('SET', P .. 'payload:' .. id, payload) end
  if delay == '0' then
    call('HSET', key, unpack(record))
    queue_add(class, score_of(tonumber(priority), now), number .. id)
  else
    local due = now + tonumber(delay)
    call('HSET', key, 's', 'delayed', 'd', due, 'D', delay, unpack(record))
    call('ZADD', P .. 'delayed', due, id)
  end
  count('submitted', 1)
  event('submitted', id)
  return 1
end

if not sequences_take(tasks) then return sequences_used_up() end
local answers, i = {}, FIRST
while ARGV[i] do
  local n = COUNTS[ARGV[i + 6]]
  answers[#answers + 1] = accept(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], i + FIXED, n)
  i = i + FIXED + n
end
sequences_back()
place_new(now, nonce, limit)
return answers
