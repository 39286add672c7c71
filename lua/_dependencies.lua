--@include _ended
--@include _waiting
--@include _check
-- What a task waits for, as a submit says it: ID, or ID:KIND with KIND any, failed or result (nothing: that it completes); or
-- ID:each alone, of an array for one with the same indexes: each element waits for the one with its index (_each).
-- Its request keeps a few in `awaits`; of more it says how many (`*NUMBER`), and they stand in the list awaits:ID. `left` is
-- how many of them haven't come yet; those that a long submit hasn't named so far are among them.

local MOST_PARENTS = 1024 -- that one call names
local MOST_EACH = 16 -- arrays that wait for one element by element

-- These names, checked: {id, sign, text} each.
local function parents_given(names)
  local parents = {}
  if #names > MOST_PARENTS then
    complain('invalid_value', 'one call names at most ' .. MOST_PARENTS .. ' tasks to wait for')
  end
  for _, name in ipairs(names) do
    local id, kind = string.match(name, '^([^:]*):?(%a*)$')
    local sign = SIGNS[kind == '' and 'ok' or kind or '']
    if not sign or kind == 'ok' then
      complain('invalid_value', 'bad name of a task to wait for ' .. shown(name) .. ': write ID or ID:any')
    end
    parents[#parents + 1] = { id = task_given(id), sign = sign, text = name }
  end
  return parents
end

-- The same of a text with commas between.
local function parents_listed(text)
  local names = {}
  for name in string.gmatch(text, '[^,]+') do names[#names + 1] = name end
  return parents_given(names)
end

-- Those that are there, with what is known of them. The first that isn't, or can't be waited for; of an array whose result
-- is to be used ID:result, as it has none; ID:each, it is no array of these indexes (`extent`); ID:many, no more may wait for
-- its elements.
local function parents_find(parents, extent)
  for _, parent in ipairs(parents) do
    parent.task = waiting_task(parent.id)
    if not parent.task or (parent.task.unmade and parent.task.request.left) then return parent.id end
    if parent.sign == SIGNS.result and parent.task.request.array then return parent.id .. ':result' end
    if parent.sign == SIGNS.each and parent.task.request.array ~= extent then return parent.id .. ':each' end
    if parent.sign == SIGNS.each and #each_waiting(parent.task.request) >= MOST_EACH then return parent.id .. ':many' end
  end
end

local function parent_note(parent, entry)
  waiting_change(parent.task)
  dependant_add(parent.id, entry)
  if parent.task.request.array then arrays_forget() end
end

-- Who waits for an array element by element, anew: those that still do, and one more where it is given.
local function each_put(id, more)
  local request = request_of(id)
  if not request or not (request.each or more) then return end
  local entries = {}
  for _, other in ipairs(each_waiting(request)) do
    if not more or other ~= more.id then entries[#entries + 1] = other .. '/' .. turn_short(request_of(other).turn) end
  end
  if more then entries[#entries + 1] = more.id .. '/' .. turn_short(more.request.turn) end
  request.each = #entries > 0 and table.concat(entries, ',') or nil
  request_put(id, request)
  arrays_forget()
end

-- Notes with an array that this one waits for it element by element. What has ended of it is looked at by task_release. False:
-- it is none of these indexes.
local function each_begin(task, parent)
  local request = request_of(parent.id)
  if not request or not request.array or request.array ~= task.request.array then return false end
  each_put(parent.id, task)
  read('ZADD', P .. 'releasing', '0', task.id)
  wake()
  return true
end

-- Notes with each of these that the task waits for it, as far as it hasn't ended.
local function parents_note(now, task, parents)
  local request, came, lost = task.request, 0, false
  local turn = turn_short(request.turn)
  for _, parent in ipairs(parents) do
    local state = parent.task and parent.task.state
    if parent.sign == SIGNS.each then
      lost = not each_begin(task, parent)
    elseif state and not FINAL[state] then
      parent_note(parent, task.id .. parent.sign .. turn)
    elseif state and is_wanted(parent.sign, state) then
      came = came + 1
      if parent.sign == SIGNS.result then parent_note(parent, task.id .. GIVEN .. turn) end
    elseif state and request.on_failure == 'keep' then
      parent_note(parent, task.id .. parent.sign .. turn)
    else
      lost = true
    end
  end
  if lost then return dependant_cancel(now, task) end
  if came > 0 then dependencies_came(now, task, came) end
end

-- A new task that waits for so many others, of which these are the first. (Its request is written.)
local function dependencies_begin(now, id, request, parents, number)
  local texts = {}
  for i, parent in ipairs(parents) do texts[i] = parent.text end
  call('DEL', P .. 'awaits:' .. id)
  if number <= FEW then
    request.awaits = table.concat(texts, ',')
  else
    request.awaits = '*' .. whole(number)
    call('RPUSH', P .. 'awaits:' .. id, unpack(texts))
  end
  request.left = whole(number)
  request_put(id, request)
  read('ZADD', P .. 'waiting', stamp(now), id)
  parents_note(now, { id = id, request = request, state = 'waiting' }, parents)
end
