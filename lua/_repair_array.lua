--@include _ended
--@include _repair
-- Putting an array right by its request, what has changed of it, the runs of what was made before its turn, and the elements that go on.

local ENDED = { 'completed', 'failed', 'cancelled' }
local COUNTS = { 'next', 'apart', 'cut', 'unmade', 'forgotten', 'completed', 'failed', 'cancelled' }

local function array_set(array_id, record, name, right)
  if record[name] == right then return end
  hash_set(P .. 'array:' .. array_id, name, whole(right))
  did(name .. ' ' .. tostring(record[name]) .. ' -> ' .. whole(right))
  record[name] = right
end

-- What has changed of it, as numbers; what is none is as if it weren't there.
local function array_read(id)
  local key = P .. 'array:' .. id
  local values, record = fields_of(key, unpack(COUNTS)), {}
  for i, name in ipairs(COUNTS) do
    record[name] = whole_of(values[i])
    if values[i] and not record[name] then
      call('HDEL', key, name)
      did('what wasn\'t a number dropped (' .. name .. ')')
    end
    if name ~= 'next' and name ~= 'cut' then record[name] = record[name] or 0 end
  end
  return record
end

-- The first element that isn't made, where the record doesn't say it: behind those that go on, and those with a record.
local function next_by_evidence(id, first, last)
  local index = first
  for _, live in ipairs(call('SMEMBERS', P .. 'live:' .. id)) do index = math.max(index, tonumber(live) + 1) end
  while index <= last and request_text(id .. '/' .. whole(index)) do index = index + 1 end
  return index
end

-- What was made before its turn: as many as `apart:ID` says, behind the next one.
local function array_apart(id, record, last)
  local key = P .. 'apart:' .. id
  local runs = call('ZRANGE', key, '0', '-1', 'WITHSCORES')
  local apart, cut = 0, record.cut
  for i = 1, #runs, 2 do
    local run_first, run_last = tonumber(runs[i + 1]), tonumber(runs[i])
    if not cut and run_first <= record.next then
      array_set(id, record, 'next', math.max(record.next, run_last + 1))
      call('ZREM', key, runs[i])
      did('what is behind its next element dropped')
    elseif not cut or run_last >= cut then
      apart = apart + run_last - math.max(run_first, cut or 0) + 1
    end
  end
  if cut then return array_set(id, record, 'unmade', last - cut + 1 - apart) end
  array_set(id, record, 'apart', apart)
end

-- Its elements together are as many as it has: where they aren't, the numbers of those that have ended are wrong.
local function array_sums(id, record, size, left)
  local sum = left + call('SCARD', P .. 'live:' .. id)
  for _, name in ipairs(ENDED) do sum = sum + record[name] end
  for _, name in ipairs(ENDED) do
    local right = math.max(0, record[name] + size - sum)
    sum = sum + right - record[name]
    if right ~= record[name] then array_set(id, record, name, right) end
  end
end

local function array_index(now, id, request, state, left)
  local set = call('SISMEMBER', P .. 'arrays', id) == 1
  if set ~= (left > 0) then
    call(left > 0 and 'SADD' or 'SREM', P .. 'arrays', id)
    did('arrays: ' .. (left > 0 and 'entered' or 'entry dropped'))
  end
  index_set('delayed', id, state == 'delayed' and tonumber(request.due) or nil)
  index_set('waiting', id, state == 'waiting' and tonumber(request.at) or nil)
  index_set('held', id, state == 'held' and (tonumber(call('ZSCORE', P .. 'held', id) or nil) or now) or nil)
  index_set('expiring', id, left > 0 and tonumber(request.expires or nil) or nil)
  local member = left > 0 and array_member(array_load(id)) or nil
  local queue = P .. 'pending:' .. request.class
  local score = member and tonumber(call('ZSCORE', queue, member) or nil)
  local right = state == 'pending' and score_of(tonumber(request.priority) or 0, tonumber(request.at)) or nil
  if score == right or (score and right and math.abs(score - right) < 1e-6) then return end
  if score then
    queue_remove(request.class, member)
    queue_flush()
  end
  if right then queue_add(request.class, right, array_member(array_load(id))) end
  if queue_flush() then wake() end
  did(right and 'its rest put into its queue' or 'its rest taken out of its queue')
end

-- What its outcome and its request say of its state, by what is left of it.
local function array_state(now, id, request, left)
  local over = outcome_of(id) ~= nil
  if over and (left > 0 or call('EXISTS', P .. 'live:' .. id) == 1) then
    outcome_put(id, nil)
    over = false
    did(left > 0 and 'pending: not all of it is made' or 'running: not all of it has ended')
  end
  if (request.state or request.left) and (over or left == 0) then
    request.state, request.left = nil, nil
    did('running: all of it is made')
  end
  if request.state == 'delayed' and not request.due then
    request.due = whole(now)
    did('due now')
  end
  request_put(id, request)
  local waits = request.left and left > 0 and 'waiting'
  return over and outcome_of(id).state or request.state or waits or (left > 0 and 'pending' or 'running')
end

-- `request`: with what is well-formed of it, and a class.
local function array_repair(now, id, request)
  local record = array_read(id)
  local first, last = string.match(request.array, '^(%d+)-(%d+)$')
  first, last = tonumber(first), tonumber(last)
  if not is_sequence(request.turn) then
    request.turn = sequence_text(sequences_new(last - first + 1) or PY.SEQUENCES - (last - first + 1))
    did('new places in the order')
  end
  if not record.next or record.next < first or record.next > last + 1 then
    array_set(id, record, 'next', record.cut and last + 1 or next_by_evidence(id, first, last))
  end
  array_apart(id, record, last)
  local left = record.cut and 0 or math.max(0, last - record.next + 1 - record.apart)
  array_sums(id, record, last - first + 1, left)
  local state = array_state(now, id, request, left)
  arrays_forget()
  array_index(now, id, request, state, left)
  if not FINAL[state] and left == 0 and array_settle(now, id) then did('ended') end
  ends_flush(now)
  local outcome = outcome_of(id)
  local bare = outcome and record.unmade + record.forgotten == last - first + 1
  index_set('finished:array', id, bare and tonumber(outcome.at) or nil)
end

-- An element goes on, or has ended: its array knows.
local function element_repair(id, final)
  local array_id, index = array_name(id)
  if not array_id or not (request_of(array_id) or {}).array then return end
  local changed = call(final and 'SREM' or 'SADD', P .. 'live:' .. array_id, index)
  if changed == 1 then did(final and 'live: entry dropped' or 'live: entered') end
end
