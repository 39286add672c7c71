#!lua flags=allow-oom
--- task_release: those hear of it that wait for what has ended, as far as its end couldn't tell them all; and elements that
-- wait for elements
-- (waiting → pending | delayed | cancelled).
-- KEYS: prefix
-- ARGV: now_ms
-- Replies: how many are left of which not all are told, or not all elements looked at
-- Refuses: nothing
-- Promises: a bounded number are told; each hears of an end once
--@include _each
--@include _commit

arguments_given(1)
local now = time_given(ARGV[1])
if wrong() then return wrong() end
local untold, others = dependants_untold()
if #untold > 0 then ends_flush(now, untold) end
each_release(now, others, #untold > 0)
commit(now)
local left = read('ZCARD', P .. 'releasing')
return type(left) == 'number' and left or 0
