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
local key = P .. 'task:' .. id
local FIELDS = { 's', 'c', 'n', 'p', 't', 'k', 'i', 'A', 'd', 'F', 'r', 'y', 'z', 'C', 'b', 'u', 'ax', 'rx', 'l', 'X', 'Y', 'j' }
local NUMBERS = { 'p', 't', 'd', 'F', 'r', 'y', 'z', 'C', 'u', 'ax', 'rx', 'l', 'X', 'Y' }
local STATES = { 'pending', 'delayed', 'held', 'assigned', 'running', 'completed', 'failed', 'cancelled' }
local FINAL = { completed = true, failed = true, cancelled = true }
local ACTIVE = { assigned = true, running = true }
local PAYLOAD = P .. 'payload:' .. (array_name(id) or id) -- elements share their array's
local record, broken

local function set(name, value, text)
  call('HSET', key, name, value)
  record[name] = tostring(value)
  did(text)
end

-- The ledger that the record points to.
local function ledger()
  local node_id, incarnation = string.match(record.i or '', '^([^:]+):([^:]+)$')
  return node_id and P .. 'node:' .. node_id .. ':' .. incarnation .. ':tasks', node_id
end

-- Where the record's own word for the state can't be believed: where the task is found, or else the queue.
local function state_by_evidence()
  local path = ledger()
  local _, _, _, mark = entry_parse(path and record.k and call('HGET', path, record.k) or '')
  if mark then return mark == 'a' and 'assigned' or 'running' end
  for _, state in ipairs({ 'completed', 'failed', 'cancelled' }) do
    if call('ZSCORE', P .. 'finished:' .. state, id) then return state end
  end
  if call('ZSCORE', P .. 'held', id) then return 'held' end
  if call('ZSCORE', P .. 'delayed', id) then return 'delayed' end
  return 'pending'
end

local function well_formed()
  for _, name in ipairs(NUMBERS) do
    local sound = whole_of(record[name]) or (name == 'p' and tonumber(record[name] or nil))
    if record[name] and not sound then
      call('HDEL', key, name)
      record[name] = nil
      did('what wasn\'t a number dropped (' .. name .. ')')
    end
  end
  if not string.match(record.c or '', '^%d+:%d+$') and not string.match(record.c or '', '^%d+:%d+%+[a-z0-9._+-]+$') then
    broken = not record.A and 'its record was damaged: what it needs is unknown'
    set('c', record.A or '1:256', 'its class set')
  end
  if not record.t then set('t', now, 'its time of submit set') end
  local known = not record.s
  for _, state in ipairs(STATES) do known = known or record.s == state end
  if not known then set('s', state_by_evidence(), 'its state set') end
  record.s = record.s or 'pending'
  if record.s == 'pending' then call('HDEL', key, 's') end -- a pending task has none
  local retries, crashes, most = tonumber(record.r or 0), tonumber(record.z or 0), tonumber(record.C or PY.CRASH_LIMIT)
  if tonumber(record.y or 0) > retries then set('y', retries, 'retries used set to what is allowed') end
  local allowed = FINAL[record.s] and most or most - 1
  if crashes > allowed then set('z', allowed, 'crashes set below the limit') end
end

-- Out of all indexes but that of its state.
local function out_of_others()
  for _, index in ipairs({ 'delayed', 'held', 'finished:completed', 'finished:failed', 'finished:cancelled' }) do
    local own = index == record.s or index == 'finished:' .. record.s
    if not own then index_set(index, id, nil) end
  end
  if record.s ~= 'pending' and call('ZSCORE', P .. 'pending:' .. record.c, record.n .. id) then
    queue_remove(record.c, record.n .. id)
    queue_flush()
    did('taken out of its queue')
  end
end

local function queued()
  local score = tonumber(call('ZSCORE', P .. 'pending:' .. record.c, record.n .. id) or nil)
  local right = score_of(tonumber(record.p or 0), tonumber(record.t))
  if score and math.abs(score - right) < 1e-6 then return end
  if score then
    queue_remove(record.c, record.n .. id)
    queue_flush()
  end
  queue_add(record.c, right, record.n .. id)
  if queue_flush() then wake() end
  did('put into its queue')
end

-- The attempt on the ledger; what is missing there is read from the record, and the other way round.
local function on_ledger()
  local path, node_id = ledger()
  local entry = path and record.k and call('HGET', path, record.k)
  if entry then
    local task_id, cpu, memory, mark = entry_parse(entry)
    local wanted = record.b and 's' or record.s == 'running' and 'r' or 'a'
    local needs = record.A or string.match(record.c, '^%d+:%d+')
    if not task_id then
      call('HSET', path, record.k, id .. ':' .. needs .. ':' .. wanted)
      return did('its entry in the ledger written anew')
    elseif task_id == id then
      if mark ~= wanted and mark ~= 's' then
        call('HSET', path, record.k, id .. ':' .. cpu .. ':' .. memory .. ':' .. wanted)
        did('its mark in the ledger set')
      end
      if needs ~= cpu .. ':' .. memory then set('A', cpu .. ':' .. memory, 'its allocation as the ledger says') end
      return
    end
  end
  local flat = path and call('HGETALL', path) or {}
  for i = 1, #flat, 2 do
    if entry_parse(flat[i + 1]) == id then return set('k', flat[i], 'its attempt found by the ledger') end
  end
  task_pending(id, record, record.n)
  if queue_flush() then wake() end
  event('requeued', id, node_id, record.u, 'repaired')
  did('its attempt is on no ledger: pending again, at its old place')
  record.s = 'pending'
end

local function fail(why)
  record.s = 'failed'
  call('HDEL', key, 'k', 'i', 'A', 'ax', 'b')
  call('DEL', P .. 'payload:' .. id)
  call('HSET', key, 's', 'failed', 'F', now, 'm', 'error', 'E', why)
  record.F = tostring(now)
  count('failed', 1)
  event('failed', id, nil, record.u, 'error')
  did('failed: ' .. why)
end

-- What is kept beside the record is as long as the record says.
local function kept_beside()
  if record.ax and call('STRLEN', PAYLOAD) ~= tonumber(record.ax) then
    if ACTIVE[record.s] then
      did('NOT MENDED: its arguments are lost while it is on a node: let it end, or cancel it')
    elseif FINAL[record.s] then
      call('HDEL', key, 'ax')
      call('DEL', P .. 'payload:' .. id)
      did('its arguments are lost: dropped')
    else
      fail('its arguments were lost')
    end
  end
  if record.rx then
    local length = call('STRLEN', P .. 'result:' .. id)
    if length ~= tonumber(record.rx) then
      if length > 0 and record.s ~= 'completed' then
        set('rx', length, 'what is left of its error kept')
      else
        call('HDEL', key, 'rx')
        call('DEL', P .. 'result:' .. id)
        if record.s == 'completed' then call('HSET', key, 'm', 'result_lost') end
        did('its result or error is lost: dropped')
      end
    end
  end
end

local function task_repair()
  if not record.n then set('n', next_sequence() or sequence_text(PY.SEQUENCES - 1), 'a new place in the order') end
  kept_beside()
  if broken and not ACTIVE[record.s] and not FINAL[record.s] then fail(broken) end
  if ACTIVE[record.s] then on_ledger() end
  out_of_others()
  if record.s == 'pending' then
    queued()
  elseif record.s == 'delayed' then
    if not record.d then set('d', now, 'due now') end
    index_set('delayed', id, tonumber(record.d))
  elseif record.s == 'held' then
    index_set('held', id, tonumber(call('ZSCORE', P .. 'held', id) or now))
  elseif FINAL[record.s] then
    if not record.F then set('F', now, 'its end set') end
    index_set('finished:' .. record.s, id, tonumber(record.F))
  end
  element_repair(id, FINAL[record.s])
end

if key_type(key) == 'hash' then
  record = record_read(id, FIELDS)
  well_formed()
  if string.match(record.j or '', '^%d+%-%d+$') then array_repair(now, id) else task_repair() end
end
return repaired(now)
