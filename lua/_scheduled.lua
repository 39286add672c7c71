--@include _place
--@include _request
--@include _schedule
-- A task of a schedule.

-- Makes a task of it; returns why not, or nil. What it asks for is looked at as if it were submitted now: it is read without
-- trust. One that is there already, by the same request, is what was asked for.
local function task_make(now, schedule, id)
  local class, digest = schedule.class or '', schedule.digest or ''
  local request = request_given(id, class, digest, schedule.text or '')
  local said = complaint()
  if said then return 'what it asks for was damaged: ' .. said end
  local known = request_text(id)
  if known and not has_digest(known, digest) then return 'the id ' .. id .. ' is taken by another task' end
  if not known then
    local waits = (request.delay or '0') == '0'
    if waits and not may_wait(class) then return 'tasks with too many sets of labels wait' end
    local sequence = next_sequence()
    request_begin(id, request, class, digest, now, '')
    request.turn = sequence
    if waits and request.infeasible then -- whoever brings it into its queue looks whether it ends
      waits, request.state, request.due = false, 'delayed', stamp(now)
      read('ZADD', P .. 'delayed', request.due, id)
    end
    request_put(id, request)
    count('submitted', 1)
    event('submitted', id)
    if waits then queue_add(class, score_of(tonumber(request.priority) or 0, now), sequence .. id) end
    schedule.made = whole((whole_of(schedule.made) or 0) + 1)
  end
  schedule.last = id
end
