#!lua flags=no-writes
--- event_find: what a stretch of the decision log says of a task, the newest first.
-- KEYS: prefix
-- ARGV: now_ms task_id from to limit
--   from, to: ids of entries, or times in ms; limit: how many entries are looked at
-- Replies: {next, id, fields, id, fields, …}: entries that name the task, and what to give as `to` next time ('': done)
-- Refuses: nothing
-- Promises: reads only, at most `limit` entries
--@include _check

-- The id of an entry, a time, or an end of the log.
local function place_given(text, what)
  local ms, number = string.match(text or '', '^%(?(%d+)%-?(%d*)$')
  if text == '-' or text == '+' or (ms and #ms < 19 and #number < 19 and string.sub(text, -1) ~= '-') then return text end
  complain('invalid_value', what .. ' must be the id of an entry, not ' .. shown(text or ''))
end

arguments_given(5)
local id, from, to = task_given(ARGV[2]), place_given(ARGV[3], 'from'), place_given(ARGV[4], 'to')
local limit = batch_given(ARGV[5])
if wrong() then return wrong() end

local entries = call('XREVRANGE', P .. 'events', to, from, 'COUNT', whole(limit))
local last_id = unpack(entries[#entries] or {})
local found = { #entries == limit and '(' .. last_id or '' }
for _, entry in ipairs(entries) do
  local entry_id, fields = unpack(entry)
  for i = 2, #fields, 2 do
    if string.find(fields[i], id, 1, true) then
      found[#found + 1] = entry_id
      found[#found + 1] = fields
      break
    end
  end
end
return found
