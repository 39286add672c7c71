#!lua flags=allow-oom
--- repair_task: put a task into exactly the index of its state, by its record and the ledger.
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: a task that is in order isn't written to; an attempt that is on its ledger goes on; one that isn't costs nothing:
--   the task is pending again at its old place
--@include _repair_array

arguments_given(2)
local now, id = time_given(ARGV[1]), found_given(ARGV[2], 'task id')
if wrong() then return wrong() end
local NUMBERS = {
  'at', 'due', 'delay', 'retries', 'retries_used', 'crashes', 'crash_limit', 'time_limit', 'max_cpu', 'max_memory', 'payload',
  'attempts', 'preempted', 'first_memory', 'left', 'deadline', 'expires',
}
local NODES = 1000 -- of which the ledgers are looked at for an attempt that was lost
local PAYLOAD = P .. 'payload:' .. (array_name(id) or id) -- elements share their array's
local request, attempt, outcome, state, broken

local function set(name, value, text)
  request[name] = value
  did(text)
end

local function request_repair()
  for _, name in ipairs(NUMBERS) do
    if request[name] and not whole_of(request[name]) then set(name, nil, 'what wasn\'t a number dropped (' .. name .. ')') end
  end
  if request.priority and not tonumber(request.priority) then set('priority', nil, 'what wasn\'t a number dropped (priority)') end
  if not class_of(request.class or '') then
    local allocated = attempt and attempt.allocated
    broken = not allocated and 'its record was damaged: what it needs is unknown'
    set('class', allocated or '1:256', 'its class set')
  end
  if not request.at then set('at', whole(now), 'its time of submit set') end
  if request.state and request.state ~= 'held' and request.state ~= 'delayed' then
    local held, delayed = call('ZSCORE', P .. 'held', id), call('ZSCORE', P .. 'delayed', id)
    set('state', held and 'held' or delayed and 'delayed' or nil, 'its state set')
  end
  local retries, crashes, most = tonumber(request.retries or 0), tonumber(request.crashes or 0), tonumber(request.crash_limit or PY.CRASH_LIMIT)
  if tonumber(request.retries_used or 0) > retries then set('retries_used', whole(retries), 'retries used set to what is allowed') end
  local allowed = outcome and FINAL[outcome.state] and most or most - 1
  if crashes > allowed then set('crashes', whole(allowed), 'crashes set below the limit') end
end

-- An outcome that says no state has that of the index in which the task stands, or is none.
local function outcome_repair()
  if not outcome then return end
  if outcome.state ~= 'retry' and not FINAL[outcome.state] then
    local before = outcome
    outcome = nil
    for known in pairs(FINAL) do
      if call('ZSCORE', P .. 'finished:' .. known, id) then outcome = before end
      if outcome and outcome.state ~= known then outcome.state = known end
      if outcome then break end
    end
    did(outcome and 'the state of its outcome set' or 'an outcome that says nothing dropped')
  end
  if outcome and not whole_of(outcome.at) then
    outcome.at = whole(now)
    did('its end set')
  end
  for _, name in ipairs({ 'exit_code', 'stored' }) do
    if outcome and outcome[name] and not tonumber(outcome[name]) then
      outcome[name] = nil
      did('what wasn\'t a number dropped (' .. name .. ')')
    end
  end
end

-- The ledger that the attempt is on, and its node.
local function ledger_of(place)
  local node_id = string.match(place, '^([^:]+):')
  return P .. 'node:' .. place .. ':tasks', node_id
end

-- The attempt on this ledger that is the task's.
local function found_on(place)
  local flat = read('HGETALL', (ledger_of(place)))
  for i = 1, #flat, 2 do
    local owner, cpu, memory, mark = entry_parse(flat[i + 1])
    if owner == id then
      local began = mark ~= 'a' and whole(now) or nil
      return {
        token = flat[i], place = place, placed = whole(now), number = whole((whole_of(request.attempts) or 0) + 1),
        allocated = cpu .. ':' .. memory, started = began, watch = request.watch, after = mark == 's' and 'back' or nil,
        more = '1',
      }
    end
  end
end

-- The attempt of a task that stands nowhere: as some ledger says.
local function found_on_any()
  for _, node_id in ipairs(call('ZRANGE', P .. 'nodes', '0', whole(NODES - 1))) do
    local incarnation = field_of(P .. 'node:' .. node_id, 'incarnation')
    local found = incarnation and found_on(node_id .. ':' .. incarnation)
    if found then return found end
  end
end

-- The attempt on the ledger; what is missing there is read from the attempt, and the other way round. Nil: it is on none.
local function attempt_repair()
  local path, node_id = ledger_of(attempt.place)
  local entry = call('HGET', path, attempt.token)
  local task_id, cpu, memory, mark, held = entry_parse(entry or '')
  if entry and (task_id == id or not task_id) then
    local wanted = attempt.after and 's' or attempt.started and 'r' or 'a'
    local needs = attempt.allocated or string.match(request.class, '^%d+:%d+')
    if not task_id then
      local need = class_of(request.class)
      local limits = need and need.limits and limits_held(need.limits) or ''
      call('HSET', path, attempt.token, entry_text(id, needs, wanted, limits))
      did('its entry in the ledger written anew')
    else
      if mark ~= wanted and mark ~= 's' then
        call('HSET', path, attempt.token, entry_text(id, cpu .. ':' .. memory, wanted, held))
        did('its mark in the ledger set')
      end
      if needs ~= cpu .. ':' .. memory then
        attempt.allocated = cpu .. ':' .. memory
        did('its allocation as the ledger says')
      end
    end
    return
  end
  local found = found_on(attempt.place)
  if found then
    attempt.token = found.token
    return did('its attempt found by the ledger')
  end
  request.attempts, request.watch, attempt = attempt.number, attempt.watch, nil
  event('requeued', id, node_id, request.attempts, 'repaired')
  did('its attempt is on no ledger: pending again, at its old place')
end

-- One of the parts says where it stands; what says otherwise goes.
local function state_repair()
  if attempt then
    if outcome and FINAL[outcome.state] then
      local mine = entry_parse(read('HGET', (ledger_of(attempt.place)), attempt.token) or '') == id
      if mine then outcome = nil else attempt = nil end
      did(mine and 'an outcome dropped: it is on its node' or 'an attempt dropped: it has ended')
    end
    if attempt then attempt_repair() end
  end
  local elsewhere = attempt or (outcome and FINAL[outcome.state])
  if elsewhere and request.state then set('state', nil, 'its state set') end
  if elsewhere and request.left then set('left', nil, 'it waits no more') end
  state = state_of(id, request, attempt, outcome)
end

-- Out of all indexes but that of its state.
local function out_of_others()
  for _, index in ipairs({ 'delayed', 'held', 'waiting', 'finished:completed', 'finished:failed', 'finished:cancelled' }) do
    local own = index == state or index == 'finished:' .. state
    if not own then index_set(index, id, nil) end
  end
  if state ~= 'pending' and call('ZSCORE', P .. 'pending:' .. request.class, request.turn .. id) then
    queue_remove(request.class, request.turn .. id)
    queue_flush()
    did('taken out of its queue')
  end
end

local function queued()
  local score = tonumber(call('ZSCORE', P .. 'pending:' .. request.class, request.turn .. id) or nil)
  local right = score_of(tonumber(request.priority or 0), tonumber(request.at))
  if score and math.abs(score - right) < 1e-6 then return end
  if score then
    queue_remove(request.class, request.turn .. id)
    queue_flush()
  else
    attempt = found_on_any()
    if attempt then
      state = state_of(id, request, attempt, outcome)
      return did('its attempt found by the ledger')
    end
  end
  queue_add(request.class, right, request.turn .. id)
  if queue_flush() then wake() end
  did('put into its queue')
end

local function fail(why)
  state, attempt = 'failed', nil
  request.payload, request.state, request.left = nil, nil, nil
  if request.before then call('ZADD', P .. 'releasing', PY.EXACT, id) end
  call('DEL', P .. 'payload:' .. id)
  outcome = { state = 'failed', at = whole(now), reason = 'error', error = why }
  count('failed', 1)
  event('failed', id, nil, request.attempts, 'error')
  did('failed: ' .. why)
end

-- What is kept beside the record is as long as the record says.
local function kept_beside()
  if request.payload and call('STRLEN', PAYLOAD) ~= tonumber(request.payload) then
    if attempt then
      did('NOT MENDED: its arguments are lost while it is on a node: let it end, or cancel it')
    elseif FINAL[state] then
      set('payload', nil, 'its arguments are lost: dropped')
      call('DEL', P .. 'payload:' .. id)
    else
      fail('its arguments were lost')
    end
  end
  if not outcome or not outcome.stored then return end
  local length = call('STRLEN', P .. 'result:' .. id)
  if length == tonumber(outcome.stored) then return end
  if length > 0 and outcome.state ~= 'completed' then
    outcome.stored = whole(length)
    return did('what is left of its error kept')
  end
  outcome.stored = nil
  call('DEL', P .. 'result:' .. id)
  if outcome.state == 'completed' then outcome.reason = 'result_lost' end
  did('its result or error is lost: dropped')
end

local function task_repair()
  if not is_sequence(request.turn) then set('turn', next_sequence() or sequence_text(PY.SEQUENCES - 1), 'a new place in the order') end
  state_repair()
  kept_beside()
  if broken and not attempt and not FINAL[state] then fail(broken) end
  if state == 'pending' then queued() end
  out_of_others()
  if state == 'delayed' then
    if not request.due then set('due', whole(now), 'due now') end
    index_set('delayed', id, tonumber(request.due))
  elseif state == 'held' then
    index_set('held', id, tonumber(call('ZSCORE', P .. 'held', id) or now))
  elseif state == 'waiting' then
    index_set('waiting', id, tonumber(request.at))
  elseif FINAL[state] then
    index_set('finished:' .. state, id, tonumber(outcome.at))
  end
  local waits = not attempt and not FINAL[state]
  index_set('expiring', id, waits and tonumber(request.expires or nil) or nil)
  request_put(id, request)
  attempt_put(id, attempt)
  if outcome then outcome_put(id, outcome) else outcome_put(id, nil) end
  element_repair(id, FINAL[state])
end

request = request_of(id)
if request then
  attempt, outcome = attempt_of(id), outcome_of(id)
  if read('HEXISTS', P .. 'placed', id) == 1 and not attempt then did('an attempt that says nothing dropped') end
  outcome_repair()
  request_repair()
  if string.match(request.array or '', '^%d+%-%d+$') then
    if outcome then outcome_put(id, outcome) else outcome_put(id, nil) end
    array_repair(now, id, request)
  else
    task_repair()
  end
end
return repaired(now)
