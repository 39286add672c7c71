--@include _ended
--@include _limited
--@include _refused
-- What follows the end of an attempt (running or assigned → completed, failed, cancelled, delayed, pending).
-- Shared by finish and reap. The caller has given the allocation back.

local LARGEST = 1000 -- nodes with most CPU, of which memory is looked at
local REFUSALS, NO_RETRY = { not_found = true, not_allowed = true }, { unsendable = true }

-- Where a ledger holds an attempt that the record has lost, the record isn't believed: the attempt is made again, unless the
-- task has its place elsewhere.
local function attempt_again(task, place, token, mark, now)
  local request = task.request
  local queue = P .. 'pending:' .. (request.class or '')
  if task.state ~= 'pending' or request.array or read('ZSCORE', queue, (request.turn or '') .. task.id) then return end
  task.attempt = {
    token = token, place = place, placed = stamp(now), number = whole((whole_of(request.attempts) or 0) + 1),
    started = mark == 'r' and stamp(now) or nil, watch = request.watch,
  }
  attempt_put(task.id, task.attempt)
end

-- The task of an attempt that a ledger holds. Most ends are good first ones, which need only what `placed` has of them.
local function task_of_attempt(now, id, place, token, mark, outcome)
  local attempt = attempt_of(id)
  if attempt and mark ~= 's' and outcome == 'completed' and not attempt.more then return { id = id, attempt = attempt } end
  local task = task_read(id, attempt)
  if task and not attempt then attempt_again(task, place, token, mark, now) end
  return task or { id = id }
end

-- Back to its queue, after an attempt. `sequence`: its old one, or a new one (behind its equals).
local function task_back(task, sequence, node_id, why)
  local number = last_attempt(task).number
  task_pending(task, sequence)
  event('requeued', task.id, node_id, number, why)
end

-- What earlier attempts left beside the record.
local function outcome_clear(task)
  if task.outcome and task.outcome.stored then call('DEL', P .. 'result:' .. task.id) end
end

-- The error text stays in the outcome when short.
local function error_lines(id, text, exit_code)
  local lines = { exit_code = exit_code ~= '' and exit_code or nil }
  if #text > PY.INLINE then
    call('SET', P .. 'result:' .. id, text)
    lines.stored = whole(#text)
  else
    lines.error = text
  end
  return lines
end

local function attempt_completed(now, task, node_id, report)
  local id, attempt, result = task.id, task.attempt, report.value
  if task.request then
    outcome_clear(task)
    suspect_no_more(task)
    request_put(id, task.request)
  end
  local head = 'state=completed\nat=' .. stamp(now) .. '\nattempt=' .. attempt.text
  if report.started then head = head .. ' started=' .. report.started end
  if report.exit_code ~= '' then head = head .. '\nexit_code=' .. report.exit_code end
  if #result > PY.INLINE then
    call('SET', P .. 'result:' .. id, result)
    outcome_put(id, head .. '\nstored=' .. #result .. '\n')
  else
    outcome_put(id, head .. '\nresult=' .. result)
  end
  attempt_put(id, nil)
  local before = task.request and task.request.before
  task_ended(now, id, 'completed', node_id, attempt.number, nil, attempt.watch, before, result)
end

-- Back-off 1 s × 2^n up to 60 s, with jitter (`report.random` in 0..1 comes from the caller).
local function attempt_failed(now, task, node_id, report)
  local id, request, attempt = task.id, task.request, task.attempt
  local final = REFUSALS[report.reason]
  if final and refused(task, node_id, report) then return task_back(task, request.turn, node_id, 'refused') end
  outcome_clear(task)
  local lines = error_lines(id, report.value, report.exit_code)
  if report.started then attempt.started = report.started end
  local used = whole_of(request.retries_used) or 0
  --@mark retries_used
  if final or NO_RETRY[report.reason] or used >= (whole_of(request.retries) or 0) then
    return task_end(now, task, 'failed', node_id, report.reason, lines)
  end
  suspect_no_more(task)
  lines.state, lines.at, lines.attempt = 'retry', stamp(now), attempt
  outcome_put(id, lines)
  attempt_over(task)
  local due = now + math.floor(math.min(60000, 1000 * 2 ^ used) * (0.5 + report.random / 2))
  request.state, request.due, request.retries_used, request.reason = 'delayed', due, used + 1, 'retry'
  request_put(id, request)
  read('ZADD', P .. 'delayed', due, id)
  event('retry', id, node_id, request.attempts, report.reason)
end

-- The most memory that a node with enough CPU and the labels has when it is empty.
local function largest_memory(need)
  local index, others = index_for('totals', need.group.required)
  local found = only_in(others, call('ZREVRANGEBYSCORE', index, '+inf', need.cpu * PY.MEMORY_STEP, 'WITHSCORES', 'LIMIT', '0', LARGEST))
  local most = 0
  for i = 2, #found, 2 do most = math.max(most, found[i] % PY.MEMORY_STEP) end
  return most
end

-- It was stopped for memory. With less than its need (the rest was released by measurement) it goes back with all of it,
-- at no cost. Else its need doubles, up to its maximum and the largest node: once at no cost, then for a retry.
local function attempt_oom(now, task, node_id, report)
  local request = task.request
  local need = class_of(request.class or '')
  if not need then return attempt_failed(now, task, node_id, report) end
  if report.memory < need.memory then
    request.released = 'cpu'
    return task_back(task, request.turn, node_id, 'released')
  end
  local first_need = request.first_memory
  local most = math.max(whole_of(request.max_memory) or 0, need.memory)
  local memory = math.min(most, 2 * need.memory, math.max(need.memory, largest_memory(need)))
  if memory > need.memory then
    request.first_memory = first_need or need.memory
    if not first_need or (whole_of(request.retries_used) or 0) < (whole_of(request.retries) or 0) then
      request.class = need.cpu .. ':' .. memory .. need.group.required
    end
    if not first_need then return task_back(task, request.turn, node_id, 'oom') end
  end
  return attempt_failed(now, task, node_id, report)
end

-- The process or its node died, and not because we stopped it. `report.among`: its node, with others on it; that alone
-- doesn't make it fail.
local function attempt_crashed(now, task, node_id, report)
  local request = task.request
  local crashes = (whole_of(request.crashes) or 0) + 1
  --@mark neighbour
  if report.among and crashes >= (whole_of(request.crash_limit) or PY.CRASH_LIMIT) then
    suspect(task, node_id)
    return task_back(task, request.turn, node_id, 'suspect')
  end
  request.crashes = crashes
  --@mark poison
  if crashes >= (whole_of(request.crash_limit) or PY.CRASH_LIMIT) then
    outcome_clear(task)
    local lines = error_lines(task.id, report.value ~= '' and report.value or 'its process or node died', '')
    return task_end(now, task, 'failed', node_id, 'poison', lines)
  end
  --@mark after_crash
  task_back(task, request.turn, node_id, 'crashed')
end

-- `mark` is the ledger's: a stopped attempt's own outcome no longer counts, the intention of the stop does.
local function end_attempt(now, task, node_id, mark, outcome, report)
  if report.started and task.request and task.request.expires then task.attempt.started = report.started end
  --@mark stopped
  if mark == 's' then
    local after = task.attempt.after
    if after == 'end' then return task_end(now, task, 'cancelled', node_id) end
    local sequence = after == 'requeue' and next_sequence() or task.request.turn
    return task_back(task, sequence, node_id, after == 'requeue' and 'cancelled' or 'stopped')
  end
  if outcome == 'completed' then return attempt_completed(now, task, node_id, report) end
  if outcome == 'failed' and report.reason == 'oom' then return attempt_oom(now, task, node_id, report) end
  if outcome == 'failed' then return attempt_failed(now, task, node_id, report) end
  if outcome == 'crashed' then return attempt_crashed(now, task, node_id, report) end
  return task_back(task, task.request.turn, node_id, 'returned')
end

-- The same for one of many: a record that can't be read fails by itself, and the others' ends are written. What goes wrong
-- for another reason is raised: then nothing was done that isn't done again.
local function end_safely(now, task, node_id, mark, outcome, report)
  local well, problem = pcall(end_attempt, now, task, node_id, mark, outcome, report)
  if well then return end
  if not unreadable_line(task.id, request_of(task.id) or {}) then error(problem, 0) end
  task_unreadable(now, task.id)
end
