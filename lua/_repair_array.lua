--@include _ended
--@include _repair
-- Putting an array right by its record, the runs of what was made before its turn, and the elements that go on.

local ENDED = { 'jco', 'jfa', 'jca' }

local function array_set(array_id, record, name, right)
  if record[name] == right then return end
  call('HSET', P .. 'task:' .. array_id, name, whole(right))
  did(name .. ' ' .. tostring(record[name]) .. ' -> ' .. whole(right))
  record[name] = right
end

-- The first element that isn't made, where the record doesn't say it: behind those that go on, and those with a record.
local function next_by_evidence(id, first, last)
  local index = first
  for _, live in ipairs(call('SMEMBERS', P .. 'live:' .. id)) do index = math.max(index, tonumber(live) + 1) end
  while index <= last and call('EXISTS', P .. 'task:' .. id .. '/' .. whole(index)) == 1 do index = index + 1 end
  return index
end

-- What was made before its turn: as many as `apart:ID` says, behind the next one.
local function array_apart(id, record, last)
  local key = P .. 'apart:' .. id
  local runs = call('ZRANGE', key, '0', '-1', 'WITHSCORES')
  local apart, cut = 0, record.jx
  for i = 1, #runs, 2 do
    local run_first, run_last = tonumber(runs[i + 1]), tonumber(runs[i])
    if not cut and run_first <= record.jn then
      array_set(id, record, 'jn', math.max(record.jn, run_last + 1))
      call('ZREM', key, runs[i])
      did('what is behind its next element dropped')
    elseif not cut or run_last >= cut then
      apart = apart + run_last - math.max(run_first, cut or 0) + 1
    end
  end
  if cut then return array_set(id, record, 'jv', last - cut + 1 - apart) end
  array_set(id, record, 'ja', apart)
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

local function array_index(id, record, state, left)
  local set = call('SISMEMBER', P .. 'arrays', id) == 1
  if set ~= (left > 0) then
    call(left > 0 and 'SADD' or 'SREM', P .. 'arrays', id)
    did('arrays: ' .. (left > 0 and 'entered' or 'entry dropped'))
  end
  index_set('delayed', id, state == 'delayed' and record.d or nil)
  index_set('held', id, state == 'held' and (tonumber(call('ZSCORE', P .. 'held', id) or nil) or record.now) or nil)
  local member = left > 0 and array_member(array_load(id)) or nil
  local queue = P .. 'pending:' .. record.c
  local score = member and tonumber(call('ZSCORE', queue, member) or nil)
  local right = state == 'pending' and score_of(record.p, record.t) or nil
  if score == right or (score and right and math.abs(score - right) < 1e-6) then return end
  if score then
    queue_remove(record.c, member)
    queue_flush()
  end
  if right then queue_add(record.c, right, array_member(array_load(id))) end
  if queue_flush() then wake() end
  did(right and 'its rest put into its queue' or 'its rest taken out of its queue')
end

local WORDS = { s = true, c = true, n = true, j = true }

local function array_repair(now, id)
  local key = P .. 'task:' .. id
  local record = record_read(id, { 's', 'c', 'n', 'p', 't', 'd', 'F', 'j', 'jn', 'ja', 'jx', 'jv', 'jco', 'jfa', 'jca', 'jfo' })
  for name, value in pairs(record) do
    if not WORDS[name] then record[name] = tonumber(value) end
  end
  for _, name in ipairs({ 'p', 'ja', 'jv', 'jfo', unpack(ENDED) }) do record[name] = record[name] or 0 end
  record.now = now
  local first, last = string.match(record.j, '^(%d+)-(%d+)$')
  first, last = tonumber(first), tonumber(last)
  if not record.t then array_set(id, record, 't', now) end
  if not record.n then
    record.n = sequence_text(sequences_new(last - first + 1) or PY.SEQUENCES - (last - first + 1))
    call('HSET', key, 'n', record.n)
    did('new places in the order')
  end
  if not record.jn or record.jn < first or record.jn > last + 1 then
    array_set(id, record, 'jn', record.jx and last + 1 or next_by_evidence(id, first, last))
  end
  array_apart(id, record, last)
  local left = record.jx and 0 or math.max(0, last - record.jn + 1 - record.ja)
  array_sums(id, record, last - first + 1, left)
  local state = record.s or 'pending'
  local waits = state == 'pending' or state == 'delayed' or state == 'held'
  if left > 0 and not waits then
    call('HDEL', key, 's', 'F')
    state, record.F = 'pending', nil
    did('pending: not all of it is made')
  elseif left == 0 and (waits or call('EXISTS', P .. 'live:' .. id) == 1) and (state ~= 'running' or record.F) then
    call('HSET', key, 's', 'running')
    call('HDEL', key, 'F')
    state, record.F = 'running', nil
    did('running: all of it is made')
  end
  if state == 'delayed' and not record.d then array_set(id, record, 'd', now) end
  arrays_forget()
  array_index(id, record, state, left)
  if not record.F and left == 0 and array_settle(now, id) then did('ended') end
  ends_flush(now)
  local bare = record.jv + record.jfo == last - first + 1 and tonumber(call('HGET', key, 'F') or nil) or nil
  index_set('finished:array', id, bare)
end

-- An element goes on, or has ended: its array knows.
local function element_repair(id, final)
  local array_id, index = array_name(id)
  if not array_id or call('HEXISTS', P .. 'task:' .. array_id, 'j') == 0 then return end
  local changed = call(final and 'SREM' or 'SADD', P .. 'live:' .. array_id, index)
  if changed == 1 then did(final and 'live: entry dropped' or 'live: entered') end
end
