--@include _ended
--@include _refused
-- Tasks that are to fail where no node could hold them even when empty (`infeasible` in their request). That is looked at once:
-- when a task could first be placed. A task that isn't in the hands of a script which can end it is delayed for a moment
-- (_schedule, _dependants): the one that brings it into its queue looks.

-- Whether it ends here instead of coming into its queue. (It stands in no index of waiting tasks.)
local function ends_infeasible(now, task)
  local request = task.request
  --@mark infeasible
  if request.infeasible ~= 'fail' or request.attempts or somebody_could(class_of(request.class), true) then return false end
  if request.array then
    rest_failed(now, task.id, request, 'infeasible')
  else
    task_end(now, task, 'failed', nil, 'infeasible', { error = 'no node could hold it even when empty' })
  end
  return true
end
