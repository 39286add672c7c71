#!lua flags=allow-oom
--- task_watch: a client wants to hear on a channel when tasks end.
-- KEYS: prefix
-- ARGV: now_ms channel *task_ids
-- Replies: the state of each task, '' for an unknown one
-- Refuses: nothing
-- Promises: at most 8 channels a task are kept (the oldest goes: its client looks by itself now and then); those for an
--   element that isn't made are kept by its array, for all that it makes from then on
--@include _waiting

arguments_given(2, 1)
local channel = id_given(ARGV[2], 'channel')
for i = 3, #ARGV do task_given(ARGV[i]) end
if wrong() then return wrong() end
local states = {}

-- These channels and the one given; of too many the oldest goes.
local function with_channel(channels)
  local others = {}
  for known in string.gmatch(channels or '', '[^,]+') do
    if known ~= channel then others[#others + 1] = known end
  end
  if #others >= 8 then table.remove(others, 1) end
  others[#others + 1] = channel
  return table.concat(others, ',')
end

-- The state of an element that isn't made: its array keeps its channels.
local function watch_unmade(id)
  local array, index = element_of(id)
  local state = array and unmade_state(array, index)
  if state and not FINAL[state] then call('HSET', array.key, 'watch', with_channel(field_of(array.key, 'watch'))) end
  return state or ''
end

local function watch(id)
  local task = task_read(id)
  if not task then return watch_unmade(id) end
  if task.attempt then
    attempt_change(id, { watch = with_channel(task.attempt.watch) })
  elseif not FINAL[task.state] then
    task.request.watch = with_channel(task.request.watch)
    request_put(id, task.request)
  end
  return task.state
end

local ids = {}
for i = 3, #ARGV do ids[#ids + 1] = ARGV[i] end
if #ids > 0 then records_fetch(ids) end
for i, id in ipairs(ids) do states[i] = watch(id) end
records_flush()
return states
