--@include _dependencies
-- Arrays that wait for another one element by element: element i is released when element i of that one has completed; if
-- that ends otherwise it is cancelled, or (on_failure) waits on. Until then it is part of the rest of its array.
--
-- The other one's request says in `each` who waits so. An end of one of its elements puts those that wait for that into
-- `releasing`, its own end the arrays, with the index from which on they are to be looked at; so does a submit. What has gone
-- on already isn't touched, so that it may be said any number of times.

local MOST_LOOKED_AT = 16 -- elements, at a time: one takes a dozen commands

-- The array for whose elements those of this one wait, or waited; nil: for none.
local function each_awaited(request)
  return request.array and string.match(request.awaits or '', '^([^:,]+):each$')
end

-- How an element has ended, or its state. Of one that was forgotten that is known where none of its array has ended otherwise.
local function each_state(parent, index)
  local id = parent.id .. '/' .. whole(index)
  local task = task_read(id) or unmade_task(id)
  if task then return task.state end
  local failures, cancels = unpack(fields_of(parent.key, 'failed', 'cancelled'))
  return (whole_of(failures) or 0) + (whole_of(cancels) or 0) == 0 and 'completed' or 'cancelled'
end

-- One goes on, if the one that it waits for has ended.
local function each_tell(now, array_id, parent_id, index)
  local id, on_failure = array_id .. '/' .. whole(index), request_of(array_id).on_failure
  local state, task = each_state(array_load(parent_id), index), unmade_task(id)
  if not FINAL[state] or not task or not task.request.left then return end
  local wanted = state == 'completed'
  if not wanted and on_failure == 'keep' then return end
  local due = task.request.due
  waiting_change(task)
  task.request.awaits, task.request.left, task.request.due = parent_id .. '/' .. whole(index), '1', due
  if wanted then dependencies_came(now, task, 1) else dependant_cancel(now, task) end
end

-- The first element from this one on that has been made; nil: none.
local function each_made(parent, index)
  local cut = whole_of(field_of(parent.key, 'cut')) or PY.EXACT
  if index > parent.last then return nil end
  if index < math.min(parent.next, cut) or is_apart(parent, index) then return index end
  local _, first = unpack(call('ZRANGEBYSCORE', P .. 'apart:' .. parent.id, whole(index), '+inf', 'WITHSCORES', 'LIMIT', '0', '1'))
  return whole_of(first)
end

-- All elements from this one on, at most so many, as far as those that they wait for have been made; where the other array has
-- ended, then the rest as a whole. How many were looked at, and the index from which on it must go on; nil: that was all.
local function each_walk(now, array_id, parent_id, from, most)
  local parent, other = array_load(parent_id), task_read(parent_id)
  local index, looked_at = math.max(from, array_load(array_id).next), 0
  if not parent or other.state == 'completed' then
    local task = task_read(array_id)
    if parent then dependencies_came(now, task, 1) else dependant_cancel(now, task) end
    return 1
  end
  while request_of(array_id).left do
    index = each_made(array_load(parent_id), index)
    if not index then break end
    if looked_at == most then return looked_at, index end
    each_tell(now, array_id, parent_id, index)
    index, looked_at = index + 1, looked_at + 1
  end
  local task = task_read(array_id)
  --@mark rest_of_each
  if FINAL[other.state] and task.request.left and task.request.on_failure ~= 'keep' then dependant_cancel(now, task) end
  return looked_at
end

-- One that `releasing` names; as each_walk().
local function each_one(now, array_id, parent_id, index, from, most)
  if not index then return each_walk(now, array_id, parent_id, from, most) end
  if array_load(parent_id) then each_tell(now, array_id, parent_id, tonumber(index)) end
  return 1
end

-- What `releasing` says of those that wait so; what is too much for one call stays there (`busy`: all of it).
local function each_release(now, items, busy)
  local left = busy and 0 or MOST_LOOKED_AT
  for _, one in ipairs(items) do
    local name, index = array_name(one.id)
    local id = name or one.id
    local array = array_load(id)
    local parent_id = array and each_awaited(array.request)
    local looked_at, on = 0, nil
    if parent_id and array.request.left then
      if left > 0 then looked_at, on = each_one(now, id, parent_id, index, one.from, left) else on = one.from end
    end
    if parent_id and not request_of(id).left then each_put(parent_id) end
    if on then read('ZADD', P .. 'releasing', 'NX', whole(on), one.id) end
    left = left - looked_at
  end
end
