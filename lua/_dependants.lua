--@include _pending
-- Who waits for a task. Its request says it in the line `before`: a few entries, with commas between; or `*`: they stand in
-- the list before:ID. An entry is the id of the task that waits, a sign, and its turn (an id may be given anew).
-- A task that nothing waits for has no such line: nothing of this is looked at.
--
-- What the end of a task means for those that wait for it: released, where nothing else is missing; cancelled, where it
-- can't come any more what they wait for. A script tells a bounded number of them. The rest is remembered in `releasing`
-- (the ended task, and how many of its list are to be told yet), and taken on by the schedulers (task_release).

local SIGNS = { ok = ':', any = '+', failed = '!', result = '=', each = '/' } -- what is waited for
local MOST_TOLD = 64 -- at a time
local GIVEN = '~' -- what was waited for has come: its result is used, so it is kept until the one that uses it has ended
local FEW = 8    -- that stand in the request: a list of its own takes as much as so many entries

-- Whether tasks have ever waited for others in this namespace: where none has, nothing of this is looked at.
local function has_graphs()
  return setting('graphs') ~= nil
end

-- The id, the sign and the turn of an entry; nil: it says nothing.
local function dependant_parse(entry)
  return string.match(entry, '^(%w[%w._/-]*)([:+!=~])(%x+)$')
end

-- Whether an end in that state is what is waited for.
local function is_wanted(sign, state)
  if sign == SIGNS.any then return true end
  return (state == 'completed') == (sign ~= SIGNS.failed)
end

-- Puts entries at the end of the list; one of another type begins anew.
local function list_extend(id, entries)
  local key = P .. 'before:' .. id
  if type(read('RPUSH', key, unpack(entries))) ~= 'table' then return end
  call('DEL', key)
  call('RPUSH', key, unpack(entries))
end

-- The entries that stand in a request.
local function dependants_inline(before)
  local entries = {}
  for entry in string.gmatch(before or '', '[^,*]+') do entries[#entries + 1] = entry end
  return entries
end

-- The arrays that wait for this one element by element: the line `each` of its request has their ids and turns.
local function each_waiting(request)
  local found = {}
  for id, turn in string.gmatch(request.each or '', '([^,/]+)/(%x+)') do
    local task = task_read(id)
    local other = task and not FINAL[task.state] and task.request
    if other and other.left and tonumber(other.turn or '', 16) == tonumber(turn, 16) then found[#found + 1] = id end
  end
  return found
end

-- One more waits for this task. Its end must read the request from now on.
local function dependant_add(id, entry)
  local request = request_of(id)
  local few = dependants_inline(request.before)
  few[#few + 1] = entry
  if request.before == '*' or #few > FEW then
    list_extend(id, few)
    request.before = '*'
  else
    request.before = table.concat(few, ',')
  end
  request_put(id, request)
  attempt_change(id, { more = '1' })
end

-- Takes at most so many entries, and says how many are left.
local function dependants_take(id, before, most)
  if before ~= '*' then return dependants_inline(before), 0 end
  local key = P .. 'before:' .. id
  local entries = read('LRANGE', key, '0', whole(most - 1))
  if entries.err then
    call('DEL', key)
    return {}, 0
  end
  call('LTRIM', key, whole(#entries), '-1')
  return entries, call('LLEN', key)
end

-- So many of those that it waits for have come. The last one: into its queue, or to where else it has to wait.
local function dependencies_came(now, task, number)
  local id, request = task.id, task.request
  local left = request.left - number
  --@mark all_have_come
  if left > 0 then
    request.left = whole(left)
    return request_put(id, request)
  end
  request.left = nil
  if task.state == 'held' then return request_put(id, request) end
  read('ZREM', P .. 'waiting', id)
  local due = whole_of(request.due)
  local crowded = not may_wait(request.class)
  event('released', id)
  local at_once = not crowded and request.infeasible ~= 'fail'
  if at_once and (not due or due <= now) then return task_pending(task, request.turn) end
  request.state, request.due = 'delayed', whole(math.max(due or 0, now))
  request_put(id, request)
  read('ZADD', P .. 'delayed', request.due, id)
end

-- Tells one of them; what stays of its entry, or nil. `cancel`: what is done with one that can't be released any more.
local function dependant_tell(now, entry, state, cancel)
  local id, sign, turn = dependant_parse(entry)
  local task = id and task_read(id)
  local request = task and task.request
  if not task or FINAL[task.state] then return nil end
  if sign == GIVEN then return entry end
  if not request.left or not request.turn or tonumber(request.turn, 16) ~= tonumber(turn, 16) then return nil end -- it waits no more
  if not whole_of(request.left) or unreadable_line(id, request) then return entry end -- the audit's to mend
  if is_wanted(sign, state) then
    dependencies_came(now, task, 1)
    return sign == SIGNS.result and id .. GIVEN .. turn or nil
  end
  --@mark on_failure
  if request.on_failure == 'keep' then return entry end
  cancel(now, task)
end

-- Tells those that wait for this one, at most so many of a list: how many of it are told, and left to be told.
local function dependants_of(now, one, most, cancel)
  local before = (request_of(one.id) or {}).before
  if not before then return 0, 0 end
  local listed = before == '*' and read('LLEN', P .. 'before:' .. one.id)
  local left = type(listed) == 'number' and math.min(one.left or listed, listed) or 0
  local entries, beyond = dependants_take(one.id, before, math.min(left, most))
  local ids, stay = {}, {}
  for _, entry in ipairs(entries) do ids[#ids + 1] = dependant_parse(entry) end
  records_fetch(ids)
  for _, entry in ipairs(entries) do
    local well, kept = pcall(dependant_tell, now, entry, one.state, cancel)
    if not well then -- logged, and left to the audit: those behind it are others'
      event('damaged', legible(entry), nil, nil, legible(type(kept) == 'table' and kept.err or tostring(kept)))
      kept = entry
    end
    if kept then stay[#stay + 1] = kept end
  end
  local request = request_of(one.id)
  if before ~= '*' then
    request.before = #stay > 0 and table.concat(stay, ',') or nil
  elseif #stay > 0 then
    list_extend(one.id, stay)
  elseif beyond == 0 then
    request.before = nil
  end
  request_put(one.id, request)
  return #entries, math.max(0, left - #entries)
end

-- Tells those that wait for what has ended, after so many others: how many by now. `ended`: id, state, and how many of its
-- list are to be told (nil: all) each; `cancel`: what is done with a task that can't be released any more.
local function dependants_tell(now, ended, told, cancel)
  for _, one in ipairs(ended) do
    local number, left = 0, one.left or PY.EXACT
    if told < MOST_TOLD then number, left = dependants_of(now, one, MOST_TOLD - told, cancel) end
    told = told + number
    --@mark rest_remembered
    if left > 0 then
      read('ZADD', P .. 'releasing', left, one.id)
      wake()
    end
  end
  return told
end

-- What was remembered, a batch of it: as dependants_tell() takes it; and what hasn't ended, which is told at its end, or
-- waits element by element (_each): id, and from which index on.
local function dependants_untold()
  local key, ended, others = P .. 'releasing', {}, {}
  local found = read('ZRANGE', key, '0', whole(MOST_TOLD - 1), 'WITHSCORES')
  if found.err then call('DEL', key) end
  for i = 1, #found, 2 do
    call('ZREM', key, found[i])
    local outcome = outcome_of(found[i])
    if outcome and FINAL[outcome.state] then
      ended[#ended + 1] = { id = found[i], state = outcome.state, left = tonumber(found[i + 1]) }
    else
      others[#others + 1] = { id = found[i], from = tonumber(found[i + 1]) }
    end
  end
  return ended, others
end
