#!lua
--- schedule_make: the tasks of schedules that are due (none → pending | delayed; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit *schedules
--   limit: placings at most; what is left is the schedulers'
--   each schedule: name, due, id, next, missed, missed_id
--   due: when it is due, as was read (`never`: it has ended; '' it can't be read)
--   id: the task of a due time that has come ('' none has); next: when it is due after that (`never`)
--   missed: how many due times before `next` are too old for a task; missed_id: what the last of them would have been
-- Replies: a list with one number a schedule: 1 it has moved on, 0 somebody was faster, or it is paused or gone, -1 its task
--   can't be made: it is tried again later, and its field `trouble` says why
-- Refuses: counter_full; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: each due time is passed once, whoever calls how often: with its task, or a note of why it has none; one schedule
--   that can't be read holds up nobody
--@include _due

local FIRST, WIDTH = 4, 6

arguments_given(FIRST - 1, WIDTH)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
if wrong() then return wrong() end
for at = FIRST, #ARGV, WIDTH do move_given(unpack(ARGV, at, at + WIDTH - 1)) end
if wrong() then return wrong() end

if not sequences_take((#ARGV - FIRST + 1) / WIDTH) then return sequences_used_up() end
local answers = {}
for at = FIRST, #ARGV, WIDTH do
  answers[#answers + 1] = move_on(now, unpack(ARGV, at, at + WIDTH - 1))
end
sequences_back()
place_new(now, nonce, limit)
return answers
