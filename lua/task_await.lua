#!lua
--- task_await: more of the tasks that a new one waits for (waiting → waiting | pending | delayed | cancelled).
-- KEYS: prefix
-- ARGV: now_ms task_id from *names
--   from: how many were named before; names: ID or ID:KIND each
-- Replies: how many are named now
-- Refuses: nothing; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: repeated it changes nothing; what isn't there can't come any more: the task is cancelled, or (on_failure) waits
--@include _dependencies
--@include _commit

arguments_given(3, 1)
local now, id, from = time_given(ARGV[1]), id_given(ARGV[2], 'task id'), number_given(ARGV[3], 'from', 0, PY.MOST_PARENTS)
local names = {}
for i = 4, #ARGV do names[#names + 1] = ARGV[i] end
local parents = parents_given(names)
if wrong() then return wrong() end

local key = P .. 'awaits:' .. id
local named = read('LLEN', key)
local task = task_read(id)
if type(named) ~= 'number' then return 0 end
local number = task and task.request.left and whole_of(string.match(task.request.awaits or '', '^%*(%d+)$'))
if not number or named ~= from or #names == 0 or named + #names > number then return named end
parents_find(parents)
call('RPUSH', key, unpack(names))
parents_note(now, task, parents)
commit(now)
return named + #names
