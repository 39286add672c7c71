--@include _pending
--@include _check
-- Tasks that somebody names, among them elements of an array that aren't made yet; into and out of the waiting states.

local WAITING = { pending = true, delayed = true, held = true, waiting = true }

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

-- The state of an element that isn't made: that of the array, or how its rest has ended, and why it has failed. Nil: it is
-- made, or there is none.
local function unmade_state(array, index)
  if index < array.first or index > array.last or is_apart(array, index) then return nil end
  if index >= array.next then
    if WAITING[array.request.state or ''] then return array.request.state end
    return array.request.left and 'waiting' or 'pending'
  end
  local cut_from, reason = unpack(fields_of(array.key, 'cut', 'cut_reason'))
  if not cut_from or index < (whole_of(cut_from) or PY.EXACT) then return nil end
  return reason and 'failed' or 'cancelled', reason or nil
end

-- An ended element runs again, so its array hasn't ended.
local function element_again(id, state)
  local array_id, index = array_name(id)
  if not array_id or not request_text(array_id) then return end
  read('HINCRBY', P .. 'array:' .. array_id, state, -1)
  read('SADD', P .. 'live:' .. array_id, index)
  outcome_put(array_id, nil)
end

-- Out of the index of its waiting state.
local function take_out(task)
  local id, state, request = task.id, task.state, task.request
  if state == 'pending' then
    if request.class and is_sequence(request.turn) and (not request.array or array_load(id)) then
      queue_remove(request.class, entry_of(task, request.turn))
    end
  elseif WAITING[state] then
    call('ZREM', P .. state, id)
  elseif FINAL[state] then
    call('ZREM', P .. 'finished:' .. state, id)
    element_again(id, state)
  end
end

local function too_many_label_sets()
  return refuse('too_many_label_sets', 'tasks of as many combinations of required labels and sizes as may wait at once ('
    .. MOST_GROUPS .. ') wait already: try again when some of them have been placed, or use fewer')
end

-- A sequence behind everything that has one: of a task, or of the first element of an array, for those that are left. Nil: they are used
-- up.
local function sequence_behind(task)
  if not task.request.array then return next_sequence() end
  local array = array_load(task.id)
  local left = array.last - array.next + 1
  local first = sequences_new(left)
  return first and sequence_text(first - (array.next - array.first))
end

-- The rest of an array without one of its elements, which waits as a task of its own from now on.
local function rest_without(array, index, state, class, score)
  if index > array.next then
    apart_add(array, index)
    return call('HINCRBY', array.key, 'apart', 1)
  end
  if state == 'pending' then queue_remove(class, array_member(array), 0) end
  array_advance(array)
  local left = array_write(array)
  if state == 'pending' then return left and queue_add(class, score, array_member(array), 0) end
  if left then return end
  call('ZREM', P .. state, array.id)
  array.request.state, array.request.left = nil, nil
  request_put(array.id, array.request)
end

-- Makes an element before its turn, in the state that its array is in, because somebody changes it.
local function element_make(id)
  local array, index = element_of(id)
  local state, reason = unmade_state(array, index)
  local request = request_parse(element_text(array, array_sequence(array, index)))
  if FINAL[state] then
    apart_add(array, index)
    local cut_at = stamp(whole_of(field_of(array.key, 'cut_at')) or 0)
    request_put(id, request)
    outcome_put(id, { state = state, at = cut_at, reason = reason })
    call('ZADD', P .. 'finished:' .. state, cut_at, id)
    call('ZREM', P .. 'finished:array', array.id)
    call('HINCRBY', array.key, 'unmade', -1)
    unmade_count(state, -1)
    return
  end
  call('SADD', P .. 'live:' .. array.id, whole(index))
  if request.expires then read('ZADD', P .. 'expiring', request.expires, id) end
  local score = score_of(tonumber(request.priority) or 0, tonumber(request.at) or 0)
  local due = array.request.due
  local waits_until = state == 'held' and call('ZSCORE', P .. 'held', array.id) or due
  rest_without(array, index, state, request.class, score)
  if state == 'pending' then
    queue_add(request.class, score, array_sequence(array, index) .. id, 0)
  elseif state == 'waiting' then -- to be cancelled: nothing else is done with one of these
    request.left = array.request.left
    call('ZADD', P .. 'waiting', request.at, id)
  else
    request.state, request.due = state, due
    call('ZADD', P .. state, waits_until, id)
  end
  request_put(id, request)
end

-- The task that an element would be if it were made now; nil: it was made before, or there is none.
local function unmade_task(id)
  local array, index = element_of(id)
  local state = array and unmade_state(array, index)
  if not state then return nil end
  local request = request_parse(element_text(array, array_sequence(array, index)))
  request.due, request.left = array.request.due, array.request.left
  return { id = id, request = request, state = state, unmade = true }
end

-- An element of an array that waits for others isn't there by itself: nothing tells it when they end. The refusal, or nil.
local function waits_with_its_array(task)
  if not task.unmade or not task.request.left then return nil end
  return refuse('wrong_state', 'task ' .. task.id .. ' waits with its array: it can be cancelled; else name the array')
end

-- Before a task is changed: an element that isn't made becomes one.
local function waiting_change(task)
  if not task.unmade then return end
  element_make(task.id)
  queue_flush()
  arrays_forget()
  task.request, task.outcome = request_of(task.id), outcome_of(task.id)
end

-- A known task, or nil. Nothing is written: who changes it calls waiting_change() first.
local function waiting_task(id)
  local task = task_read(id)
  if not task then return unmade_task(id) end
  if not WAITING[task.state] or not unreadable_line(id, task.request) then return task end
  take_out(task) -- nothing else can be done with it
  queue_flush()
  task_unreadable(clock(ARGV[1]), id)
  counts_flush()
  events_flush()
  records_flush()
  return task_read(id)
end
