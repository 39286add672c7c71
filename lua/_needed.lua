--@include _dependants
--@include _waiting
-- Which ended tasks are kept for others: those that still wait for it (on_failure=keep; or they haven't been told yet), and
-- those that use its result, until they have ended.

local LOOKED_AT = 1000 -- entries of a list, in one call

-- The task that an entry is about, and whether it uses the result; nil: it needs it no more.
local function entry_needs(entry)
  local id, sign, turn = dependant_parse(entry)
  local task = id and task_read(id)
  if not task or FINAL[task.state] then return nil end
  if sign == GIVEN then return id, true end
  local waits = task.request.left and tonumber(task.request.turn or '', 16) == tonumber(turn, 16)
  return waits and id or nil, false
end

-- One that needs an ended task, and whether it uses its result; nil: none does. What of a long list is over goes, as its
-- beginning may be all that is looked at.
local function needed_by_one(id)
  local request = request_of(id)
  local before = request and request.before
  if not before then return nil end
  local listed = before == '*' and read('LRANGE', P .. 'before:' .. id, '0', whole(LOOKED_AT - 1))
  local entries = listed or dependants_inline(before)
  if entries.err then return nil end
  for _, entry in ipairs(entries) do
    local who, uses = entry_needs(entry)
    if who then return who, uses end
  end
  if #entries < LOOKED_AT then return nil end
  call('LTRIM', P .. 'before:' .. id, whole(LOOKED_AT), '-1')
  return 'another one', false
end

-- Of an array, or of an element: an array or an element that waits for it element by element.
local function needed_by_each(id)
  local array_id, index = array_name(id)
  local text = request_text(array_id or id)
  if not text or not string.find(text, '\neach=', 1, true) then return nil end
  for _, other in ipairs(each_waiting(request_of(array_id or id))) do
    local element = index and unmade_task(other .. '/' .. index)
    if not index then return other end
    if element and element.request.left then return element.id end
  end
end

-- One that needs an ended task, and whether it uses its result; nil: none does.
local function needed_by(id)
  local who, uses = needed_by_one(id)
  if who then return who, uses end
  return needed_by_each(id), false
end

-- Those of them that nobody needs.
local function unneeded(ids)
  if #ids == 0 or not has_graphs() then return ids end
  records_fetch(ids, 'request')
  local found = {}
  for _, id in ipairs(ids) do
    if not needed_by(id) then found[#found + 1] = id end
  end
  return found
end

-- The lists of these go with them.
local function lists_drop(ids)
  if not has_graphs() then return end
  local keys = {}
  for _, id in ipairs(ids) do
    local request = request_of(id) or {}
    if request.before == '*' then keys[#keys + 1] = P .. 'before:' .. id end
    if string.sub(request.awaits or '', 1, 1) == '*' then keys[#keys + 1] = P .. 'awaits:' .. id end
  end
  if #keys > 0 then call('UNLINK', unpack(keys)) end
end
