#!lua flags=no-writes
--- event_find: what a stretch of the decision log says of a task, the newest first.
-- KEYS: prefix
-- ARGV: now_ms task_id from to limit
--   from, to: ids of entries, or times in ms; limit: how many entries are looked at
-- Replies: {next, id, fields, id, fields, …}: entries that name the task, and what to give as `to` next time ('': done)
-- Refuses: nothing
-- Promises: reads only, at most `limit` entries
--@include _base

local id = ARGV[2]
local entries = call('XREVRANGE', P .. 'events', ARGV[4], ARGV[3], 'COUNT', ARGV[5])
local found = { #entries == tonumber(ARGV[5]) and '(' .. entries[#entries][1] or '' }
for _, entry in ipairs(entries) do
  local fields = entry[2]
  for i = 2, #fields, 2 do
    if string.find(fields[i], id, 1, true) then
      found[#found + 1] = entry[1]
      found[#found + 1] = fields
      break
    end
  end
end
return found
