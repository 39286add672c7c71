--@include _check
--@include _end_attempt
--@include _output
--@include _reservation
--@include _surplus
-- What an agent reports of the end of an attempt, as attempts.py writes it: checked like everything that is given, and recorded.

local OUTCOMES = { completed = true, failed = true, crashed = true, returned = true, stopped = true }

-- A report by names. That its token and task are some is seen on the ledger.
local function report_given(head, value, output)
  local token, id, outcome, ran, rest = string.match(head, '^(%S+) (%S+) (%a+) (%S+)(.*)$')
  local reason, exit_code = '', ''
  if not token then
    complain('invalid_value', 'a report begins with TOKEN ID OUTCOME RAN, not ' .. shown(head))
  elseif outcome ~= 'completed' or rest ~= '' then
    choice_given(outcome, 'outcome', OUTCOMES)
    local said_reason, said_code = string.match(rest, '^ reason=(%S+)'), string.match(rest, ' exit_code=(%S+)$')
    if said_reason then reason = word_given(said_reason, 'reason', 128) end
    if said_code then
      number_given(said_code, 'exit code', -PY.MOST_PRIORITY, PY.MOST_PRIORITY)
      exit_code = said_code
    end
    local known = (said_reason and #said_reason + 8 or 0) + (said_code and #said_code + 11 or 0)
    if known ~= #rest then complain('invalid_value', 'a report may end with reason=WORD and exit_code=NUMBER, not with ' .. shown(rest)) end
  end
  if ran ~= '-' and (not find(ran or '', '^%d+$') or #ran > 12) then duration_given(ran, 'ran') end
  if #value > PY.MOST_PAYLOAD then bytes_given(value, 'the result or error', PY.MOST_PAYLOAD) end
  if #output > MOST_OUTPUT then bytes_given(output, 'the output', MOST_OUTPUT) end
  return { -- with all that comes to it: a table that grows is copied
    token = token, id = id, outcome = outcome, ran = ran ~= '-' and tonumber(ran) or nil, reason = reason, exit_code = exit_code,
    value = value, output = output, started = nil, memory = 0,
  }
end

-- A report whose token is gone: the same report came before, or the attempt was taken away.
local function late(id, token)
  local task = task_read(id)
  local last = task and (task.attempt or (task.outcome and task.outcome.attempt))
  return last and last.token == token and 'recorded' or 'stale'
end

-- An entry of the ledger that is gone, or says nothing: what the task's attempt says of it, while it is here.
local function entry_by_attempt(node, id, token)
  local attempt = attempt_of(id)
  if not attempt or attempt.token ~= token or attempt.place ~= node.place then return nil end
  local cpu, memory = string.match(attempt.allocated or (request_of(id) or {}).class or '', '^(%d+):(%d+)')
  if not cpu then return nil end
  return id, tonumber(cpu), tonumber(memory), attempt.after and 's' or 'r', ''
end

-- Whether the room of an attempt is still taken, beside all that stands on the ledger: a repair may have given it back.
local function is_taken(node, cpu, memory)
  local free_cpu, free_memory = node.total_cpu, node.total_memory
  local flat, over = read('HGETALL', node.ledger), {}
  for _, token in ipairs(node.cleared) do over[token] = true end
  for i = 1, #flat, 2 do
    local id, entry_cpu, entry_memory = entry_parse(flat[i + 1])
    if id and not over[flat[i]] then free_cpu, free_memory = free_cpu - entry_cpu, free_memory - entry_memory end
  end
  return node.cpu + cpu <= free_cpu and node.memory + memory <= free_memory
end

-- Whether the end counts; `entry`: the ledger's, nil: it is gone. `random`: 0 to 1, for the jitter of a retry.
local function report_recorded(now, node, report, entry, random)
  local token, given_id, outcome = report.token, report.id, report.outcome
  local id, cpu, memory, mark, held = entry_parse(entry or '')
  if not id then id, cpu, memory, mark, held = entry_by_attempt(node, given_id, token) end
  --@mark late_report
  if not id and not entry then return late(given_id, token) end
  if id ~= given_id then return 'stale' end -- a call sent again after a failover has given the token to another task
  local task = task_of_attempt(now, id, node.place, token, mark, outcome)
  local attempt = task.attempt
  local started = attempt and attempt.started or (not attempt and mark == 'r')
  if entry or is_taken(node, cpu, memory) then give_back(node, token, cpu, memory, started, held) end
  if held ~= '' then limits_give(held) end
  attempt_gone(node, token, task.request and task.request.preemptible)
  reservation_restored(node, token)
  if not attempt or attempt.token ~= token then return 'stale' end
  report.memory = memory
  if outcome ~= 'completed' then report.random = random end
  if report.ran and not attempt.started then report.started = whole(now - report.ran) end
  if report.output ~= '' then output_append(id, report.output) end
  end_safely(now, task, node.id, mark, outcome, report)
  return 'recorded'
end
