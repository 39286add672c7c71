#!lua flags=allow-oom
--- repair_seq: the next place in the order is behind all that were given.
-- KEYS: prefix
-- ARGV: now_ms last
--   last: the last place that a task has
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: it never goes back, but from where no place is left
--@include _array
--@include _repair

arguments_given(2)
local last = number_given(ARGV[2], 'last', 0, MOST_COUNT)
if wrong() then return wrong() end
local found = read('GET', P .. 'seq')
local now_at = type(found) == 'string' and whole_of(found)
if not now_at or now_at < last or now_at >= PY.SEQUENCES then
  call('SET', P .. 'seq', whole(last))
  did('seq ' .. legible(tostring(now_at or 'unreadable')) .. ' -> ' .. whole(last))
end
return repaired()
