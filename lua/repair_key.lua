#!lua flags=allow-oom
--- repair_key: drop what is kept beside a record that is gone or doesn't mention it.
-- KEYS: prefix
-- ARGV: now_ms kind task_id
--   kind: payload, result, log, ended, awaits, before; of an array array, live or apart
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: what a record mentions isn't touched
--@include _repair

local KINDS = { payload = true, result = true, log = true, ended = true, array = true, live = true, apart = true,
  awaits = true, before = true }

arguments_given(3)
local kind, id = choice_given(ARGV[2], 'kind', KINDS), found_given(ARGV[3], 'task id')
if wrong() then return wrong() end

local function is_mentioned()
  local request = request_of(id)
  if not request then return false end
  if kind == 'log' or kind == 'ended' then return true end
  if kind == 'payload' then return request.payload ~= nil end
  if kind == 'result' then return (outcome_of(id) or {}).stored ~= nil end
  if kind == 'awaits' or kind == 'before' then return string.sub(request[kind] or '', 1, 1) == '*' end
  return request.array ~= nil
end

if not is_mentioned() and call('UNLINK', P .. kind .. ':' .. id) == 1 then did('dropped') end
return repaired()
