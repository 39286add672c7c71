#!lua flags=allow-oom
--- repair_after: what a task waits for, counted anew; and those that wait for one that has ended hear of it
-- (waiting → waiting | pending | delayed | cancelled).
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: what adds up isn't written to; one that isn't known to have heard of an end waits for the next one, where there
--   may be one: nothing begins too early
--@include _dependencies
--@include _repair

arguments_given(2)
local now, id = time_given(ARGV[1]), found_given(ARGV[2], 'task id')
if wrong() then return wrong() end

-- What it waits for, as far as that is named; what says nothing is left out. And how many more are to be named.
local function named(request)
  local texts, more = {}, 0
  if string.sub(request.awaits or '', 1, 1) == '*' then
    texts = read('LRANGE', P .. 'awaits:' .. id, '0', '-1')
    if texts.err then texts = {} end
    more = math.max(0, (whole_of(string.sub(request.awaits, 2)) or 0) - #texts)
  else
    for text in string.gmatch(request.awaits or '', '[^,]+') do texts[#texts + 1] = text end
  end
  local parents = {}
  for _, text in ipairs(texts) do
    local parent_id, kind = string.match(text, '^(%w[%w._/-]*):?(%a*)$')
    local sign = parent_id and SIGNS[kind == '' and 'ok' or kind]
    if sign then parents[#parents + 1] = { id = parent_id, sign = sign } end
  end
  return parents, more
end

local function stands_with(before, parent, entry)
  if before == '*' then return type(read('LPOS', P .. 'before:' .. parent, entry)) == 'number' end
  for _, one in ipairs(dependants_inline(before)) do
    if one == entry then return true end
  end
  return false
end

-- For how many it waits: of those that have ended it has heard, unless it stands with them.
local function waits_for(task)
  local left, lost = 0, {}
  local parents, more = named(task.request)
  for _, parent in ipairs(parents) do
    local entry = id .. parent.sign .. turn_short(task.request.turn)
    parent.task = task_read(parent.id)
    local other = parent.task
    if other and parent.sign == SIGNS.each then
      local stands = string.find(',' .. (other.request.each or '') .. ',', ',' .. entry .. ',', 1, true)
      if stands then left = left + 1 else lost[#lost + 1] = parent end
    elseif other and stands_with(other.request.before, parent.id, entry) then
      left = left + 1
    elseif not other or not FINAL[other.state] or not is_wanted(parent.sign, other.state) then
      lost[#lost + 1] = parent
    end
  end
  return left + more, lost
end

local function count_anew(task)
  local request = task.request
  local left, lost = waits_for(task)
  if whole_of(request.left) == left + #lost and #lost == 0 and left > 0 then return end
  request.left = whole(left + #lost + 1) -- one more, so that it is released here at the earliest
  request_put(id, request)
  did('it waits for ' .. left + #lost)
  parents_find(lost)
  parents_note(now, task, lost)
  task = task_read(id)
  if not FINAL[task.state] and task.request.left then dependencies_came(now, task, 1) end
end

-- One that waits for an array element by element, which has ended: they are looked at.
local function each_remind(request)
  local parent_id = string.match(request.awaits or '', '^([^:,]+):each$')
  local parent = request.left and parent_id and task_read(parent_id)
  if not parent or not FINAL[parent.state] or call('ZSCORE', P .. 'releasing', id) then return end
  call('ZADD', P .. 'releasing', '0', id)
  wake()
  did('its elements are looked at')
end

-- An entry that says nothing goes.
local function entries_repair(request)
  local few, dropped = {}, false
  for _, entry in ipairs(dependants_inline(request.before)) do
    if dependant_parse(entry) then few[#few + 1] = entry else dropped = true end
  end
  if not dropped then return end
  request.before = #few > 0 and table.concat(few, ',') or nil
  request_put(id, request)
  did('an entry that says nothing dropped')
end

local task = task_read(id)
if task then
  if task.request.before and task.request.before ~= '*' then entries_repair(task.request) end
  if task.request.before and FINAL[task.state] and not call('ZSCORE', P .. 'releasing', id) then
    call('ZADD', P .. 'releasing', PY.EXACT, id)
    wake()
    did('those that wait for it are told')
  end
  if task.request.left and not FINAL[task.state] and not unreadable_line(id, task.request) then
    count_anew(task)
    each_remind(request_of(id))
  end
end
return repaired(now)
