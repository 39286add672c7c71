#!lua flags=allow-oom
--- limit_set: how much of a limit may be in use at once, in the whole namespace.
-- KEYS: prefix
-- ARGV: now_ms name most
--   most: a whole number from 0, or off: who asks for it isn't limited
-- Replies: {before, used}: what it was ('' never set), and how much is in use
-- Refuses: invalid_value: more names than there may be
-- Promises: what runs goes on, also where more is in use than the limit is now; who waits for it is looked at again
--@include _limited
--@include _commit

local MOST_NAMES = 1000

arguments_given(3)
local now, name, most = time_given(ARGV[1]), limit_name_given(ARGV[2]), ARGV[3]
if most ~= 'off' then number_given(most, 'the limit', 0, PY.MOST_LIMIT) end
if wrong() then return wrong() end

local key = P .. 'limits'
local before = field_of(key, name)
if not before then
  local known = read('HLEN', key)
  if known == MOST_NAMES then return refuse('invalid_value', 'there are ' .. MOST_NAMES .. ' limits already') end
end
if before ~= most then
  hash_set(key, name, most)
  limit_wider(name)
  event('limit', name, nil, nil, most)
end
local used = limit_load(name).used
commit(now)
return { before or '', used }
