#!lua
--- task_submit: accept new tasks, and place them at once if there is room (none → pending | delayed; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit watch *tasks
--   limit: placings at most; what is left is the schedulers'
--   each task: id, digest, class, priority, delay (ms), long payload or '', n, then n record fields and values
-- Replies: a list with one number a task: 1 new, 0 the same request is here already, -1 the id is another request's
-- Refuses: nothing; at full memory Redis itself refuses (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; work grows with the tasks given, not with those waiting
--@include _place

local now = clock(ARGV[1])
local nonce, limit, watch = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local answers, i = {}, 5

local function count_tasks()
  local tasks, at = 0, i
  while ARGV[at] do
    tasks, at = tasks + 1, at + 7 + tonumber(ARGV[at + 6])
  end
  return tasks
end

local function accept(id, digest, class, priority, delay, payload, first, n)
  local key = P .. 'task:' .. id
  local known = call('HGET', key, 'q')
  if known then return known == digest and 0 or -1 end
  local number = next_sequence()
  local record = { 'c', class, 'n', number, 'q', digest, 't', stamp(now) }
  if priority ~= '0' then record[9], record[10] = 'p', priority end
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

sequences_take(count_tasks())
while ARGV[i] do
  local n = tonumber(ARGV[i + 6])
  answers[#answers + 1] = accept(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], i + 7, n)
  i = i + 7 + n
end
place_new(now, nonce, limit)
return answers
