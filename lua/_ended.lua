--@include _suspect
--@include _dependants
-- Final states: the outcome, the index of ended tasks, the clients that wait, and the array of which a task is an element.
-- Ends are written whatever an index is: one of another type is the audit's to mend, by the records.

-- Of this script: state → list of score, id for finished:STATE; channel → what the clients that wait there are told; array →
-- its elements that have ended, and how many in which state; tasks and arrays for which others wait.
local endings = { finished = {}, told = {}, arrays = {}, awaited = {} }

-- `result`: of what is completed, packed; short ones are told. The words of all come first, `ID STATE[:BYTES OF RESULT]`.
local function notify(watch, id, state, result)
  if not watch then return end
  local short = result and result ~= '' and #result <= PY.TOLD
  local word = short and state .. ':' .. #result or state
  for channel in string.gmatch(watch, '[^,]+') do
    local told = endings.told[channel] or { words = {}, results = {} }
    endings.told[channel] = told
    told.words[#told.words + 1] = id .. ' ' .. word
    if short then told.results[#told.results + 1] = result end
  end
end

local function element_ended(id, state)
  local array_id, index = array_name(id)
  local less = endings.arrays[array_id]
  if not less then
    less = { indexes = {}, states = {} }
    endings.arrays[array_id] = less
  end
  less.indexes[#less.indexes + 1] = index
  less.states[state] = (less.states[state] or 0) + 1
end

-- What follows from an end beside its outcome. `number`: of the attempt; `watch`: the channels of the clients that wait;
-- `before`: as its request says who waits for it; `result`: to be told there.
local function task_ended(now, id, state, node_id, number, reason, watch, before, result)
  local list = endings.finished[state]
  if not list then
    list = {}
    endings.finished[state] = list
  end
  local at = #list
  list[at + 1], list[at + 2] = stamp(now), id
  count(state, 1)
  event(state, id, node_id, number, reason)
  notify(watch, id, state, result)
  --@mark dependants_noted
  if before then table.insert(endings.awaited, { id = id, state = state }) end
  if string.find(id, '/', 1, true) then element_ended(id, state) end
end

-- Of the arrays that wait for this one element by element those elements go on, or end, that wait for these; where none are
-- named, all are looked at: the schedulers see to it (task_release).
local function each_note(request, indexes)
  local items = {}
  for array_id in string.gmatch(request.each, '([^,/]+)/%x+') do
    if not indexes then read('ZADD', P .. 'releasing', '0', array_id) end
    for _, index in ipairs(indexes or {}) do
      items[#items + 1] = '1'
      items[#items + 1] = array_id .. '/' .. index
    end
  end
  if #items > 0 then write(read, items, 'ZADD', P .. 'releasing') end
  wake()
end

-- Writes a final outcome. `fields`: lines of it.
local function task_end(now, task, state, node_id, reason, fields)
  local request, attempt, before = task.request, task.attempt, task.outcome
  local outcome = fields or {}
  if not fields and before then -- what the last attempt said stays
    outcome = { exit_code = before.exit_code, stored = before.stored, error = before.error }
  end
  outcome.state, outcome.at, outcome.reason = state, stamp(now), reason
  local number = last_attempt(task).number
  if attempt then
    outcome.attempt = attempt
    attempt_put(task.id, nil)
  end
  suspect_no_more(task)
  if request.expires then read('ZREM', P .. 'expiring', task.id) end
  request.state, request.due, request.left, request.reason = nil, nil, nil, nil
  request_put(task.id, request)
  outcome_put(task.id, outcome)
  task_ended(now, task.id, state, node_id, number, reason, attempt and attempt.watch or request.watch, request.before)
end

-- An array has ended when nothing is left of it and all elements have. It is in the index of ended arrays only where no
-- element has a record (_forget). Returns its state, nil if it goes on.
local function array_settle(now, id)
  local request = request_of(id) or {}
  local first, last = string.match(request.array or '', '^(%d+)-(%d+)$')
  local failures, cancels, unmade, intention, next_index, forgotten =
    unpack(fields_of(P .. 'array:' .. id, 'failed', 'cancelled', 'unmade', 'after', 'next', 'forgotten'))
  --@mark array_goes_on
  if not first or outcome_of(id) or (whole_of(next_index) or 0) <= tonumber(last) or call('EXISTS', P .. 'live:' .. id) == 1 then return end
  local failed, cancelled = whole_of(failures) or 0, whole_of(cancels) or 0
  local state = failed > 0 and 'failed' or cancelled > 0 and 'cancelled' or 'completed'
  if intention and cancelled > 0 then state = 'cancelled' end -- as a whole
  outcome_put(id, { state = state, at = stamp(now) })
  if (whole_of(unmade) or 0) + (whole_of(forgotten) or 0) == last - first + 1 then read('ZADD', P .. 'finished:array', stamp(now), id) end
  event(state, id)
  notify(request.watch, id, state)
  if request.before then table.insert(endings.awaited, { id = id, state = state }) end
  if request.each then each_note(request) end
  return state
end

-- What isn't made of an array, and stands in no index of waiting tasks any more, ends without being made. The array's state then.
local function rest_end(now, id, request, state)
  local array = array_load(id)
  local left = array_rest(array)
  if left > 0 then
    --@mark rest_cancelled
    call('HSET', array.key, 'cut', whole(array.next), 'cut_at', stamp(now), 'next', whole(array.last + 1), 'apart', '0')
    call('HINCRBY', array.key, state, whole(left))
    call('HINCRBY', array.key, 'unmade', whole(left))
    read('SREM', P .. 'arrays', id)
    read('ZREM', P .. 'expiring', id)
    request.state, request.due, request.left, request.reason = nil, nil, nil, nil
    request_put(id, request)
    count(state, left)
    unmade_count(state, left)
  end
  return array_settle(now, id) or 'running'
end

-- The same where it is cancelled.
local function rest_cancelled(now, id, request, note)
  local array = array_load(id)
  call('HSET', array.key, 'after', 'end')
  if array_rest(array) > 0 then event('cancelling', id, nil, nil, note) end
  return rest_end(now, id, request, 'cancelled')
end

-- The same where it fails.
local function rest_failed(now, id, request, reason)
  local array = array_load(id)
  call('HSET', array.key, 'cut_reason', reason)
  event(reason, id, nil, nil, whole(array_rest(array)))
  return rest_end(now, id, request, 'failed')
end

-- A task that waits for what can't come any more.
local function dependant_cancel(now, task)
  read('ZREM', P .. (task.state == 'held' and 'held' or 'waiting'), task.id)
  if task.request.array then return rest_cancelled(now, task.id, task.request, 'dependency') end
  task_end(now, task, 'cancelled', nil, 'dependency')
end

local function ends_write(now)
  if not next(endings.finished) and not next(endings.arrays) and not next(endings.told) then return end
  for id, less in pairs(endings.arrays) do
    local key = P .. 'array:' .. id
    local request = request_of(id) or {}
    local extent = request.array
    if extent then
      --@mark each_noted
      if request.each then each_note(request, less.indexes) end
      read('SREM', P .. 'live:' .. id, unpack(less.indexes)) -- what can't be counted the audit counts anew
      for state, number in pairs(less.states) do read('HINCRBY', key, state, whole(number)) end
      local last = tonumber(string.match(extent, '%d+$'))
      --@mark array_ends
      if last and (whole_of(field_of(key, 'next')) or 0) > last then array_settle(now, id) end
    end
  end
  for state, list in pairs(endings.finished) do read('ZADD', P .. 'finished:' .. state, unpack(list)) end
  for channel, told in pairs(endings.told) do
    local words, results = table.concat(told.words, ' '), table.concat(told.results)
    call('PUBLISH', P .. 'done:' .. channel, results ~= '' and words .. '\n' .. results or words)
  end
  endings.finished, endings.told, endings.arrays = {}, {}, {}
end

-- Ends, and what follows from them for those that wait for what has ended; `untold`: of ends before these.
local function ends_flush(now, untold)
  ends_write(now)
  local awaited, told = untold or endings.awaited, 0
  while #awaited > 0 do
    if awaited == endings.awaited then endings.awaited = {} end
    told = dependants_tell(now, awaited, told, dependant_cancel)
    ends_write(now)
    awaited = endings.awaited
  end
end
