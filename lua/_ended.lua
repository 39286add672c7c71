--@include _suspect
-- Final states: the record, the index of ended tasks, the clients that wait, and the array of which a task is an element.
-- Ends are written whatever an index is: one of another type is the audit's to mend, by the records.

local ended = {}       -- state → list of score, id for finished:STATE
local notifications = {} -- channel → what the clients that wait there are notified of
local arrays_less = {} -- array → its elements that have ended, and how many in which state

local function notify(record, id, state)
  if not record.w then return end
  for channel in string.gmatch(record.w, '[^,]+') do
    notifications[channel] = (notifications[channel] and notifications[channel] .. ' ' or '') .. id .. ' ' .. state
  end
end

local function element_ended(id, state)
  local array_id, index = array_name(id)
  local less = arrays_less[array_id]
  if not less then
    less = { indexes = {}, states = {} }
    arrays_less[array_id] = less
  end
  less.indexes[#less.indexes + 1] = index
  less.states[state] = (less.states[state] or 0) + 1
end

-- `change`: what to write into the record.
local function task_ended(now, id, record, state, node_id, reason, change)
  suspect_no_more(id, record)
  call('HSET', P .. 'task:' .. id, unpack(change))
  local list = ended[state]
  if not list then
    list = {}
    ended[state] = list
  end
  local at = #list
  list[at + 1], list[at + 2] = stamp(now), id
  count(state, 1)
  event(state, id, node_id, record.u, reason)
  notify(record, id, state)
  if string.find(id, '/', 1, true) then element_ended(id, state) end
end

-- An array has ended when nothing is left of it and all elements have. It is in the index of ended arrays only where no
-- element has a record (_forget). Returns its state, nil if it goes on.
local function array_settle(now, id)
  local key = P .. 'task:' .. id
  local failures, cancels, channels, unmade, extent, ended_at, intention, next_index, forgotten =
    unpack(fields_of(key, 'jfa', 'jca', 'w', 'jv', 'j', 'F', 'b', 'jn', 'jfo'))
  local first, last = string.match(extent or '', '^(%d+)-(%d+)$')
  --@mark array_goes_on
  if not first or ended_at or (whole_of(next_index) or 0) <= tonumber(last) or call('EXISTS', P .. 'live:' .. id) == 1 then return end
  local failed, cancelled = whole_of(failures) or 0, whole_of(cancels) or 0
  local state = failed > 0 and 'failed' or cancelled > 0 and 'cancelled' or 'completed'
  if intention and cancelled > 0 then state = 'cancelled' end -- as a whole
  call('HSET', key, 's', state, 'F', stamp(now))
  if (whole_of(unmade) or 0) + (whole_of(forgotten) or 0) == last - first + 1 then read('ZADD', P .. 'finished:array', stamp(now), id) end
  event(state, id)
  notify({ w = channels }, id, state)
  return state
end

local function ends_flush(now)
  if not next(ended) and not next(arrays_less) and not next(notifications) then return end
  for id, less in pairs(arrays_less) do
    local key = P .. 'task:' .. id
    local extent, next_index = unpack(fields_of(key, 'j', 'jn'))
    if extent then
      read('SREM', P .. 'live:' .. id, unpack(less.indexes)) -- what can't be counted the audit counts anew
      for state, number in pairs(less.states) do read('HINCRBY', key, 'j' .. string.sub(state, 1, 2), whole(number)) end
      local last = tonumber(string.match(extent, '%d+$'))
      --@mark array_ends
      if last and (whole_of(next_index) or 0) > last then array_settle(now, id) end
    end
  end
  for state, list in pairs(ended) do read('ZADD', P .. 'finished:' .. state, unpack(list)) end
  for channel, text in pairs(notifications) do call('PUBLISH', P .. 'done:' .. channel, text) end
  ended, notifications, arrays_less = {}, {}, {}
end
