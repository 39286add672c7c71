#!lua flags=allow-oom
--- repair_entry: drop an entry of an index of tasks whose task isn't there, or has its place elsewhere.
-- KEYS: prefix
-- ARGV: now_ms index member
--   index: delayed, held, finished:STATE or pending:CLASS
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: an entry with its task isn't touched
--@include _queue
--@include _repair

local index, member = ARGV[2], ARGV[3]
local kind, name = string.match(index, '^(%a+):?(.*)$')
local id = kind == 'pending' and string.sub(member, SEQUENCE + 1) or member
local key = P .. 'task:' .. id
local record = key_type(key) == 'hash' and call('HMGET', key, 's', 'c', 'n') or {}
local state = record[2] and (record[1] or 'pending')
local right = state == (kind == 'finished' and name or kind)
if right and kind == 'pending' then right = record[2] == name and (record[3] or '') .. id == member end
if not right and call('ZSCORE', P .. index, member) then
  if kind == 'pending' then
    queue_remove(name, member)
    queue_flush()
  else
    call('ZREM', P .. index, member)
  end
  did('entry without its task dropped')
end
return repaired()
