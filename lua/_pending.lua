--@include _queue
-- Into its queue: a task, or what is left of an array.

local function array_name(id)
  return string.match(id, '^(.+)/(%d+)$')
end

local function is_sequence(text)
  return text and #text == PY.SEQUENCE and string.find(text, '^%x+$') ~= nil
end

-- The first line of a request that can't be what it stands for, and what it says; nil: all can.
local function unreadable_line(id, request)
  if not class_of(request.class or '') then return 'class', request.class end
  if not is_sequence(request.turn) then return 'turn', request.turn end
  if request.asked and not class_of(request.asked) then return 'asked', request.asked end
  local priority = request.priority
  if priority and not whole_of((string.gsub(priority, '^%-', ''))) then return 'priority', priority end
  if request.array and not array_load(id) then return 'array', request.array end
  for _, name in ipairs({ 'at', 'due', 'retries', 'retries_used', 'crashes', 'crash_limit', 'attempts', 'time_limit', 'max_cpu', 'max_memory', 'left', 'expires' }) do
    if request[name] and not whole_of(request[name]) then return name, request[name] end
  end
end

-- A task that can't be placed, nor anything else be done with, as its record can't be read: it has failed, and says why.
-- (Of an array: what isn't made of it.)
local function task_unreadable(now, id)
  local request, attempt = request_of(id) or {}, attempt_of(id)
  local name, value = unreadable_line(id, request)
  local why = name and 'its record was damaged: ' .. name .. (value and ' is ' .. legible(value) or ' is missing')
    or 'its record was damaged'
  local channels = attempt and attempt.watch or request.watch
  if request.array then
    call('UNLINK', P .. 'array:' .. id, P .. 'live:' .. id, P .. 'apart:' .. id)
    read('SREM', P .. 'arrays', id)
  end
  for _, one in ipairs({ 'array', 'state', 'due', 'expires', 'left', 'asked', 'reason' }) do request[one] = nil end
  if name == 'class' then request.class = '1:1' end
  if not is_sequence(request.turn) then request.turn = sequence_text(0) end
  request_put(id, request)
  attempt_put(id, nil)
  outcome_put(id, { state = 'failed', at = stamp(now), reason = 'unreadable', error = why })
  read('ZADD', P .. 'finished:failed', stamp(now), id)
  read('SREM', P .. 'suspects', id)
  read('ZREM', P .. 'waiting', id)
  read('ZREM', P .. 'expiring', id)
  if request.before then read('ZADD', P .. 'releasing', PY.EXACT, id) end
  count('failed', 1)
  event('failed', legible(id), nil, nil, 'unreadable')
  for channel in string.gmatch(channels or '', '[^,]+') do call('PUBLISH', P .. 'done:' .. channel, id .. ' failed') end
  local array_id, index = array_name(id)
  if array_id and array_load(array_id) then
    read('HINCRBY', P .. 'array:' .. array_id, 'failed', 1)
    read('SREM', P .. 'live:' .. array_id, index)
  end
end

-- How a task stands in its queue, and for how many: an array for those that haven't been made. (`sequence`: its own, or
-- that of an array's first element.)
local function entry_of(task, sequence)
  if not task.request.array then return sequence .. task.id, 1 end
  local array = array_load(task.id)
  array.base = tonumber(sequence, 16)
  return array_member(array), array_rest(array)
end

-- It comes back from a node. Its deadline was for its first start: one that hasn't started stands among those with one again.
local function waits_again(task)
  local request = task.request
  --@mark first_start
  if task.attempt.started then
    request.expires = nil
  else
    read('ZADD', P .. 'expiring', request.expires, task.id)
  end
end

-- What is known of an attempt that is over goes to the request of a task that waits again.
local function attempt_over(task)
  local request, last = task.request, last_attempt(task)
  request.attempts, request.watch = last.number, last.watch
  if task.attempt then
    attempt_put(task.id, nil)
    if request.expires then waits_again(task) end
  end
  task.attempt = nil
end

-- Into its queue; whatever an earlier attempt left goes, but its error.
local function task_pending(task, sequence)
  local request = task.request
  attempt_over(task)
  request.state, request.due, request.reason = nil, nil, nil
  if not is_sequence(sequence) then sequence = next_sequence() end
  request.turn = sequence
  request_put(task.id, request)
  local member, number = entry_of(task, sequence)
  queue_add(request.class, score_of(tonumber(request.priority) or 0, tonumber(request.at) or 0), member, number)
end
