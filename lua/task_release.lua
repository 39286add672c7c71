#!lua flags=allow-oom
--- task_release: those hear of it that wait for what has ended, as far as its end couldn't tell them all
-- (waiting → pending | delayed | cancelled).
-- KEYS: prefix
-- ARGV: now_ms
-- Replies: how many ended tasks are left of which not all are told
-- Refuses: nothing
-- Promises: a bounded number are told; each hears of an end once
--@include _ended
--@include _check
--@include _commit

arguments_given(1)
local now = time_given(ARGV[1])
if wrong() then return wrong() end
local untold = dependants_untold()
if #untold > 0 then ends_flush(now, untold) end
commit(now)
local left = read('ZCARD', P .. 'releasing')
return type(left) == 'number' and left or 0
