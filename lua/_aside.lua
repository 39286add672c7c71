--@include _pending
-- What can't be read is set aside, so that what is behind it goes on: the entry leaves its queue, and its task, where there
-- is one, fails by itself.

local function head_aside(now, class, id, score, member)
  local record = fields_of(P .. 'task:' .. id, 's', 'c', 'n')
  class_drop(class, 1)
  if record[1] then return end -- it has its state, and its place, elsewhere: this entry was a stray
  if record[2] and record[2] ~= class.name and class_of(record[2]) and names_task(id) then -- so has this one
    local own = (is_sequence(record[3]) and record[3] or string.sub(member, 1, SEQUENCE)) .. id
    if not call('ZSCORE', P .. 'pending:' .. record[2], own) then queue_add(record[2], score, own) end
    return
  end
  local array_id = string.byte(id, -1) == REST and string.sub(id, 1, -2)
  if record[2] then
    task_unreadable(now, id)
  elseif array_id and fields_of(P .. 'task:' .. array_id, 'j')[1] then
    task_unreadable(now, array_id)
  else
    event('damaged', legible(id), nil, nil, 'no_record')
  end
end
