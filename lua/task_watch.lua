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

-- A task's state, and where its channels are kept.
local function watched(id)
  local key = P .. 'task:' .. id
  local state, channels, class = unpack(fields_of(key, 's', 'w', 'c'))
  if class then return state or 'pending', key, 'w', channels end
  local array, index = element_of(id)
  state = array and unmade_state(array, index)
  if state then return state, array.key, 'jw', call('HGET', array.key, 'jw') end
  return ''
end

for i = 3, #ARGV do
  local state, key, field, channels = watched(ARGV[i])
  states[#states + 1] = state
  if state ~= '' and state ~= 'completed' and state ~= 'failed' and state ~= 'cancelled' then
    local others = {}
    for known in string.gmatch(channels or '', '[^,]+') do
      if known ~= channel then others[#others + 1] = known end
    end
    if #others >= 8 then table.remove(others, 1) end
    others[#others + 1] = channel
    call('HSET', key, field, table.concat(others, ','))
  end
end
return states
