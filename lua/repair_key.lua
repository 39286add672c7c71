#!lua flags=allow-oom
--- repair_key: drop what is kept beside a record that is gone or doesn't mention it.
-- KEYS: prefix
-- ARGV: now_ms kind task_id
--   kind: payload, result, log; of an array live or apart
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: what a record mentions isn't touched
--@include _repair

local FIELDS = { payload = 'ax', result = 'rx', log = 'c', live = 'j', apart = 'j' }

arguments_given(3)
local kind, id = choice_given(ARGV[2], 'kind', FIELDS), found_given(ARGV[3], 'task id')
if wrong() then return wrong() end
local key = P .. 'task:' .. id
local field = FIELDS[kind]
local there = key_type(key) == 'hash' and call('HEXISTS', key, field) == 1
if not there and call('UNLINK', P .. kind .. ':' .. id) == 1 then did('dropped') end
return repaired()
