--@include _pending
--@include _check
-- Tasks that somebody names, among them elements of an array that aren't made yet; into and out of the waiting states.

-- Where a task is on a node, or has ended: what it is made of no longer counts. (A state that is none counts as waiting.)
local WAITING = { assigned = false, running = false, completed = false, failed = false, cancelled = false }
local WAITING_FIELDS = { 's', 'c', 'n', 'p', 't', 'd', 'o', 'k', 'i', 'b', 'u', 'w', 'm', 'O', 'j', 'q' }

local function is_apart(array, index)
  local last = unpack(call('ZREVRANGEBYSCORE', P .. 'apart:' .. array.id, whole(index), '-inf', 'LIMIT', '0', '1'))
  return last and (whole_of(last) or 0) >= index
end

local function apart_add(array, index)
  local run = P .. 'apart:' .. array.id
  local first = call('ZSCORE', run, whole(index - 1)) or whole(index)
  local last = unpack(call('ZRANGEBYSCORE', run, whole(index + 1), whole(index + 1)))
  call('ZREM', run, whole(index - 1))
  call('ZADD', run, first, last or whole(index))
end

-- The array and the index that an element's id names, or nil.
local function element_of(id)
  local array_id, index = string.match(id, '^(.+)/(%d+)$')
  local array = array_id and array_load(array_id)
  if array and #index < 10 then return array, tonumber(index) end
end

-- The state of an element that isn't made: that of the array, or `cancelled` where its rest was cut off. Nil: it is made, or
-- there is none.
local function unmade_state(array, index)
  if index < array.first or index > array.last or is_apart(array, index) then return nil end
  local state, cut_from = unpack(call('HMGET', array.key, 's', 'jx'))
  if index >= array.next then return state or 'pending' end
  return cut_from and index >= (whole_of(cut_from) or PY.EXACT) and 'cancelled' or nil
end

-- An ended element runs again, so its array hasn't ended.
local function element_again(id, state)
  local array_id, index = array_name(id)
  local key = array_id and P .. 'task:' .. array_id
  if not key or call('EXISTS', key) == 0 then return end
  call('HINCRBY', key, 'j' .. string.sub(state, 1, 2), -1)
  call('SADD', P .. 'live:' .. array_id, index)
  if call('HDEL', key, 'F') == 1 then call('HSET', key, 's', 'running') end
end

-- Out of the index of its waiting state.
local function take_out(id, record)
  if record.s == 'pending' then
    if record.c and is_sequence(record.n) and (not record.j or array_load(id)) then
      queue_remove(record.c, entry_of(id, record, record.n))
    end
  elseif record.s == 'delayed' or record.s == 'held' then
    call('ZREM', P .. record.s, id)
  elseif WAITING[record.s] == false then -- completed, failed, cancelled
    call('ZREM', P .. 'finished:' .. record.s, id)
    element_again(id, record.s)
  end
end

local function too_many_label_sets()
  return refuse('too_many_label_sets', 'tasks of as many combinations of required labels and sizes as may wait at once ('
    .. MOST_GROUPS .. ') wait already: try again when some of them have been placed, or use fewer')
end

-- A sequence behind everything that has one: of a task, or of the first element of an array, for those that are left. Nil: they are used
-- up.
local function sequence_behind(id, record)
  if not record.j then return next_sequence() end
  local array = array_load(id)
  local left = array.last - array.next + 1
  local first = sequences_new(left)
  return first and sequence_text(first - (array.next - array.first))
end

-- The rest of an array without one of its elements, which waits as a task of its own from now on.
local function rest_without(array, index, state, class, score)
  if index > array.next then
    apart_add(array, index)
    return call('HINCRBY', array.key, 'ja', 1)
  end
  if state == 'pending' then queue_remove(class, array_member(array), 0) end
  array_advance(array)
  local left = array_write(array)
  if state ~= 'pending' then return left or call('ZREM', P .. state, array.id) end
  if left then queue_add(class, score, array_member(array), 0) end
end

-- Makes an element before its turn, in the state that its array is in, because somebody changes it.
local function element_make(id)
  local array, index = element_of(id)
  local state = unmade_state(array, index)
  local key = P .. 'task:' .. id
  local record = record_read(array.id, { 'c', 'p', 't', 'd', 'jt' })
  call('HSET', key, unpack((element_record(array, array_sequence(array, index)))))
  if state == 'cancelled' then
    apart_add(array, index)
    call('HSET', key, 's', state, 'F', record.jt)
    call('ZADD', P .. 'finished:cancelled', record.jt, id)
    call('ZREM', P .. 'finished:array', array.id)
    call('HINCRBY', array.key, 'jv', -1)
    count('unmade', -1)
    return
  end
  call('SADD', P .. 'live:' .. array.id, whole(index))
  local score = score_of(tonumber(record.p) or 0, tonumber(record.t) or 0)
  local waits_until = state == 'held' and call('ZSCORE', P .. 'held', array.id) or record.d
  rest_without(array, index, state, record.c, score)
  if state == 'pending' then
    return queue_add(record.c, score, array_sequence(array, index) .. id, 0)
  end
  call('HSET', key, 's', state)
  if record.d then call('HSET', key, 'd', record.d) end
  call('ZADD', P .. state, waits_until, id)
end

-- The record that an element would have if it were made now; nil: it was made before, or there is none.
local function unmade_record(id)
  local array, index = element_of(id)
  local state = array and unmade_state(array, index)
  if not state then return nil end
  local record = record_read(array.id, { 'c', 'p', 't', 'd', 'jw' })
  record.s, record.n, record.w, record.unmade = state, array_sequence(array, index), record.jw, true
  return record
end

-- Before a task is changed: an element that isn't made becomes one.
local function waiting_change(id, record)
  if not record.unmade then return end
  element_make(id)
  queue_flush()
  arrays_forget()
end

-- The record of a known task with its state, or nil. (`pending` is the default and is left out.) Nothing is written: who
-- changes it calls waiting_change() first.
local function waiting_record(id)
  local record = record_read(id, WAITING_FIELDS)
  local made = record.c or record.q
  if not made then record = unmade_record(id) end
  if not record then return nil end
  record.s = record.s or 'pending'
  if made and WAITING[record.s] ~= false and unreadable_field(id) then -- nothing else can be done with it
    take_out(id, record)
    queue_flush()
    task_unreadable(clock(ARGV[1]), id)
    counts_flush()
    events_flush()
    return record_read(id, WAITING_FIELDS)
  end
  return record
end
