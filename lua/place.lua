#!lua flags=allow-oom
--- place: find nodes for pending tasks (pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit
-- Replies: {placed, more, items}: how many were placed, 1 if work is left in `dirty` or `fresh` that can be done at once, 2 if
--   there is some in `releasing` (task_release), and which were (ID@NODE#ATTEMPT, with spaces between)
-- Refuses: nothing
-- Promises: the earliest task first; no node above its total; at most `limit` placings and as many lookups
--@include _place

arguments_given(3)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), batch_given(ARGV[3])
if wrong() then return wrong() end

local n, more, left = place(now, nonce, limit)
local items = events_text('placed')
commit(now)
local releasing = left and call('EXISTS', P .. 'releasing') == 1
return { n, releasing and 2 or more and 1 or 0, items }
