--@include _pending
-- What can't be read is set aside, so that what is behind it goes on: the entry leaves its queue, and its task, where there
-- is one, fails by itself.

-- The head of a class whose deadline has passed, before a scheduler has seen that: it leaves its queue, and is delayed until
-- one ends it (task_expire). Of an array that is all that isn't made.
local function head_expired(now, class, id, array)
  local owner = array and array.id or id
  local request = array and array.request or request_of(id)
  class_drop(class, array and array_rest(array) or 1)
  request.state, request.due = 'delayed', stamp(now)
  request_put(owner, request)
  read('ZADD', P .. 'delayed', request.due, owner)
end

local function head_aside(now, class, id, score, member)
  local owner = string.byte(id, -1) == REST and string.sub(id, 1, -2) or id
  local array = owner ~= id and array_load(owner)
  local task = task_read(owner)
  class_drop(class, 1)
  -- It has its state, and its place, elsewhere, or all of it is made: this entry was a stray.
  if (owner == id and task and task.state ~= 'pending') or (array and array_rest(array) == 0) then return end
  local request = task and task.request or {}
  local known, name = owner == id or array, request.class
  if known and name and name ~= class.name and class_of(name) and names_task(owner) then -- so was this one
    local sequence = is_sequence(request.turn) and request.turn or string.sub(member, 1, PY.SEQUENCE)
    local own = array and array_member(array) or sequence .. id
    if not call('ZSCORE', P .. 'pending:' .. name, own) then
      queue_add(name, score, own, array and array_rest(array) or 1)
    end
    return
  end
  if task and (owner == id or request.array) then
    task_unreadable(now, owner)
  else
    event('damaged', legible(id), nil, nil, 'no_record')
  end
end
