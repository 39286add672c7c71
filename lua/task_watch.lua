#!lua flags=allow-oom
--- task_watch: a client wants to hear on a channel when tasks end.
-- KEYS: prefix
-- ARGV: now_ms channel *task_ids
-- Replies: the state of each task, '' for an unknown one
-- Refuses: nothing
-- Promises: at most 8 channels a task are kept (the oldest goes: its client looks by itself now and then)
--@include _base

local channel = ARGV[2]
local states = {}
for i = 3, #ARGV do
  local key = P .. 'task:' .. ARGV[i]
  local r = call('HMGET', key, 's', 'w', 'c')
  local state = r[3] and (r[1] or 'pending') or ''
  states[#states + 1] = state
  if state ~= '' and state ~= 'completed' and state ~= 'failed' and state ~= 'cancelled' then
    local kept = {}
    for known in string.gmatch(r[2] or '', '[^,]+') do
      if known ~= channel then kept[#kept + 1] = known end
    end
    if #kept >= 8 then table.remove(kept, 1) end
    kept[#kept + 1] = channel
    call('HSET', key, 'w', table.concat(kept, ','))
  end
end
return states
