#!lua flags=allow-oom
--- task_forget: drop one ended task.
-- KEYS: prefix
-- ARGV: now_ms task_id
-- Replies: 1; of an array the indexes of its elements, FIRST-LAST: array_forget drops them, and it with the last
-- Refuses: task_not_found, task_not_final, task_needed (another one waits for it, or uses its result)
-- Promises: nothing of it is left
--@include _forget
--@include _waiting
--@include _commit

arguments_given(2)
local id = task_given(ARGV[2])
if wrong() then return wrong() end
local task = waiting_task(id)
if not task then return refuse('task_not_found', 'no task ' .. id) end
local state = task.state
if not FINAL[state] then
  return refuse('task_not_final', 'task ' .. id .. ' is ' .. state .. ': cancel it with --no-requeue first')
end
local who, uses = needed_by(id)
if who then
  return refuse('task_needed', 'task ' .. id .. ' is kept: ' .. who .. (uses and ' uses its result' or ' waits for it'))
end
if task.request.array then return task.request.array end
waiting_change(task)
forget(state, { id })
commit()
return 1
