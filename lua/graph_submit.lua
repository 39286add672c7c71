#!lua
--- graph_submit: accept new tasks of which some wait for others, or are to fail where no node could hold them
-- (none → waiting | pending | delayed | cancelled | failed).
-- KEYS: prefix
-- ARGV: now_ms watch *tasks
--   each task: id, class, digest, text as of task_submit; extent: of an array the indexes of its elements, FIRST-LAST ('' it
--   is none); number, awaits: for how many it waits, and the first of them, with commas between (task_await names the
--   others): they are here, or stand before it
-- Replies: a list, for each task a number as of task_submit, or the id of a task that it would wait for and that there
--   isn't (ID:result: that is an array, which has no result; ID:each: no array of the same indexes; ID:many: as
--   many as may wait for its elements): then nothing of it was written
-- Refuses: counter_full; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; what has ended counts as it ended; work grows with the tasks and names
--   given, not with those waiting
--@include _request
--@include _dependencies
--@include _infeasible
--@include _commit

local FIRST, WIDTH = 3, 7

arguments_given(FIRST - 1, WIDTH)
local now, watch = time_given(ARGV[1]), ARGV[2] ~= '' and id_given(ARGV[2], 'channel') or ''
if wrong() then return wrong() end

-- First and last index; nil: it is no array.
local function extent_given(text)
  if text == '' then return nil end
  local first, last = string.match(text, '^(%d+)-(%d+)$')
  first, last = number_given(first, 'first', 0, PY.MOST_INDEX), number_given(last, 'last', 0, PY.MOST_INDEX)
  if last < first or last - first >= PY.MOST_ELEMENTS then
    complain('invalid_value', 'an array has 1 to ' .. PY.MOST_ELEMENTS .. ' elements, not those of ' .. shown(text))
  end
  return first, last
end

local function task_of(at)
  local id, class, digest, text = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local first, last = extent_given(ARGV[at + 4])
  local parents = parents_listed(ARGV[at + 6])
  local number = number_given(ARGV[at + 5], 'number', #parents, PY.MOST_PARENTS)
  if number > #parents and #parents <= FEW then
    complain('invalid_value', 'the first names of a long list are missing')
  end
  if string.find(ARGV[at + 6], ':each', 1, true) and (#parents ~= 1 or number ~= 1 or not first) then
    complain('invalid_value', 'only an array waits for another one element by element, and for nothing else')
  end
  return {
    id = id_given(id, 'task id'), class = class, digest = digest, request = request_given(id, class, digest, text),
    first = first, last = last, size = first and last - first + 1 or 1, parents = parents, number = number,
  }
end

local tasks, ids = {}, {}
for at = FIRST, #ARGV, WIDTH do
  tasks[#tasks + 1] = task_of(at)
  ids[#ids + 1] = ARGV[at]
  if wrong() then return wrong() end
end

local new = 0

local function accept(task)
  local id, class, request = task.id, task.class, task.request
  local known = request_text(id)
  if known then return has_digest(known, task.digest) and 0 or -1 end
  local missing = parents_find(task.parents, task.first and whole(task.first) .. '-' .. whole(task.last))
  if missing then return missing end
  local waits = task.number > 0
  if not waits and request.delay == '0' and not may_wait(class) then return -2 end
  request_begin(id, request, class, task.digest, now, watch, waits)
  if task.first then
    array_begin(id, request, sequences_new(task.size), task.first, task.last)
  else
    request.turn = next_sequence()
  end
  new = new + task.size
  event('submitted', id, nil, nil, request.array)
  if waits then
    dependencies_begin(now, id, request, task.parents, task.number)
    return 1
  end
  request_put(id, request)
  local one = { id = id, request = request }
  if request.delay or ends_infeasible(now, one) then return 1 end
  local member, number = entry_of(one, request.turn)
  queue_add(class, score_of(tonumber(request.priority) or 0, now), member, number)
  return 1
end

local needed = 0
for _, task in ipairs(tasks) do needed = needed + task.size end
if sequences_new(needed) == nil then return sequences_used_up() end -- there are as many
setting_say('graphs')
records_fetch(ids)
local answers = {}
for i, task in ipairs(tasks) do answers[i] = accept(task) end
count('submitted', new)
if new > 0 then wake() end
commit(now)
return answers
