--@include _ended
--@include _refused
-- What follows the end of an attempt (running or assigned → completed, failed, cancelled, delayed, pending).
-- Shared by finish and reap. The caller has given the allocation back.

local LARGEST = 1000 -- nodes with most CPU, of which memory is looked at
local REFUSALS, NO_RETRY = { not_found = true, not_allowed = true }, { unsendable = true }
local END_FIELDS = { 'k', 'b', 'r', 'y', 'z', 'C', 'c', 'p', 'n', 'w', 'S', 'u', 't', 'v', 'O' }

-- What is needed of the record; most ends are good ones, and need little.
local function end_record(id, mark, outcome)
  if mark == 's' or outcome ~= 'completed' then return record_read(id, END_FIELDS) end
  local k, y, z, w, S, u, v, O = unpack(read('HMGET', P .. 'task:' .. id, 'k', 'y', 'z', 'w', 'S', 'u', 'v', 'O'))
  return { k = k, y = y, z = z, w = w, S = S, u = u, v = v, O = O }
end

local function task_end(now, id, record, state, node_id, reason, fields)
  local change = fields or {}
  local n = #change
  change[n + 1], change[n + 2], change[n + 3], change[n + 4] = 's', state, 'F', stamp(now)
  if reason then change[n + 5], change[n + 6] = 'm', reason end
  task_ended(now, id, record, state, node_id, reason, change)
end

-- Back to its queue, after an attempt. `sequence`: its old one, or a new one (behind its equals).
local function task_back(id, record, sequence, node_id, why)
  task_pending(id, record, sequence)
  event('requeued', id, node_id, record.u, why)
end

-- What earlier attempts left: their error, in the record or beside it.
local function outcome_clear(id, record)
  if (whole_of(record.y) or 0) + (whole_of(record.z) or 0) == 0 then return end
  local key = P .. 'task:' .. id
  if call('HGET', key, 'rx') then call('DEL', P .. 'result:' .. id) end
  call('HDEL', key, 'E', 'rx', 'm')
end

-- The error text stays in the record when short.
local function error_fields(id, text, exit_code)
  local fields = { 'E', text }
  if #text > PY.INLINE then
    call('SET', P .. 'result:' .. id, text)
    fields = { 'rx', #text }
  end
  if exit_code ~= '' then fields[#fields + 1], fields[#fields + 2] = 'x', exit_code end
  return fields
end

local function attempt_completed(now, id, record, node_id, report)
  outcome_clear(id, record)
  local field, result = 'R', report.result
  if #result > PY.INLINE then
    call('SET', P .. 'result:' .. id, result)
    field, result = 'rx', #result
  end
  -- With room for what may follow: a table that grows is copied each time.
  local change = { 's', 'completed', 'F', stamp(now), field, result, nil, nil, nil, nil }
  if report.started then change[#change + 1], change[#change + 2] = 'S', report.started end
  if report.exit_code ~= '' then change[#change + 1], change[#change + 2] = 'x', report.exit_code end
  task_ended(now, id, record, 'completed', node_id, nil, change)
end

-- Back-off 1 s × 2^n up to 60 s, with jitter (`random` in 0..1 comes from the caller).
local function attempt_failed(now, id, record, node_id, report)
  local key = P .. 'task:' .. id
  local final = REFUSALS[report.reason]
  if final and refused(id, record, node_id, report) then return task_back(id, record, record.n, node_id, 'refused') end
  outcome_clear(id, record)
  local fields = error_fields(id, report.error, report.exit_code)
  if report.started then fields[#fields + 1], fields[#fields + 2] = 'S', report.started end
  local used = (whole_of(record.y) or 0)
  --@mark retries_used
  if final or NO_RETRY[report.reason] or used >= (whole_of(record.r) or 0) then
    return task_end(now, id, record, 'failed', node_id, report.reason, fields)
  end
  suspect_no_more(id, record)
  local due = now + math.floor(math.min(60000, 1000 * 2 ^ used) * (0.5 + report.random / 2))
  call('HDEL', key, 'k', 'i', 'T', 'A', 'N', 'b', 'g')
  call('HSET', key, 's', 'delayed', 'd', due, 'y', used + 1, 'm', 'retry', unpack(fields))
  read('ZADD', P .. 'delayed', due, id)
  event('retry', id, node_id, record.u, report.reason)
end

-- The most memory that a node with enough CPU and the labels has when it is empty.
local function largest_memory(need)
  local index, others = index_for('totals', need.group.labels)
  local found = only_in(others, call('ZREVRANGEBYSCORE', index, '+inf', need.cpu * PY.MEMORY_STEP, 'WITHSCORES', 'LIMIT', '0', LARGEST))
  local most = 0
  for i = 2, #found, 2 do most = math.max(most, found[i] % PY.MEMORY_STEP) end
  return most
end

-- It was stopped for memory. With less than its need (the rest was released by measurement) it goes back with all of it,
-- at no cost. Else its need doubles, up to its maximum and the largest node: once at no cost, then for a retry.
local function attempt_oom(now, id, record, node_id, report)
  local key = P .. 'task:' .. id
  local need = class_of(record.c or '')
  if not need then return attempt_failed(now, id, record, node_id, report) end
  if report.memory < need.memory then
    call('HSET', key, 'h', 'cpu')
    return task_back(id, record, record.n, node_id, 'released')
  end
  local most_asked, first_need = unpack(call('HMGET', key, 'Y', 'G'))
  local most = math.max(whole_of(most_asked) or 0, need.memory)
  local memory = math.min(most, 2 * need.memory, math.max(need.memory, largest_memory(need)))
  if memory > need.memory then
    local class = need.cpu .. ':' .. memory .. need.group.labels
    call('HSET', key, 'G', first_need or need.memory)
    if not first_need or (whole_of(record.y) or 0) < (whole_of(record.r) or 0) then
      call('HSET', key, 'c', class)
      record.c = class
    end
    if not first_need then return task_back(id, record, record.n, node_id, 'oom') end
  end
  return attempt_failed(now, id, record, node_id, report)
end

-- The process or its node died, and not because we stopped it. `report.among`: its node, with others on it; that alone
-- doesn't make it fail.
local function attempt_crashed(now, id, record, node_id, report)
  local crashes = (whole_of(record.z) or 0) + 1
  --@mark neighbour
  if report.among and crashes >= (whole_of(record.C) or PY.CRASH_LIMIT) then
    suspect(id, record, node_id)
    return task_back(id, record, record.n, node_id, 'suspect')
  end
  call('HSET', P .. 'task:' .. id, 'z', crashes)
  --@mark poison
  if crashes >= (whole_of(record.C) or PY.CRASH_LIMIT) then
    outcome_clear(id, record)
    local fields = error_fields(id, report.error ~= '' and report.error or 'its process or node died', '')
    return task_end(now, id, record, 'failed', node_id, 'poison', fields)
  end
  --@mark after_crash
  task_back(id, record, record.n, node_id, 'crashed')
end

-- `mark` is the ledger's: a stopped attempt's own outcome no longer counts, the intention of the stop does.
local function end_attempt(now, id, record, node_id, mark, outcome, report)
  --@mark stopped
  if mark == 's' then
    if record.b == 'end' then
      call('HDEL', P .. 'task:' .. id, 'b', 'm')
      return task_end(now, id, record, 'cancelled', node_id)
    end
    local sequence = record.b == 'requeue' and next_sequence() or record.n
    return task_back(id, record, sequence, node_id, record.b == 'requeue' and 'cancelled' or 'stopped')
  end
  if outcome == 'completed' then return attempt_completed(now, id, record, node_id, report) end
  if outcome == 'failed' and report.reason == 'oom' then return attempt_oom(now, id, record, node_id, report) end
  if outcome == 'failed' then return attempt_failed(now, id, record, node_id, report) end
  if outcome == 'crashed' then return attempt_crashed(now, id, record, node_id, report) end
  return task_back(id, record, record.n, node_id, 'returned')
end

-- The same for one of many: a record that can't be read fails by itself, and the others' ends are written. What goes wrong
-- for another reason is raised: then nothing was done that isn't done again.
local function end_safely(now, id, record, node_id, mark, outcome, report)
  local well, problem = pcall(end_attempt, now, id, record, node_id, mark, outcome, report)
  if well then return end
  if not unreadable_field(id) then error(problem, 0) end
  task_unreadable(now, id)
end
