--@include _scheduled
-- What becomes of the due times of schedules.

local SOON = 1000         -- ms after which a queue of due times is looked at again
local LATER = 60000       -- ms after which what couldn't be made is tried again
local MOST_QUEUED = 100   -- due times that wait for the task before

-- Whether the task that it made last hasn't ended.
local function is_active(schedule)
  local id = schedule.last
  local task = id and names_task(id) and task_read(id)
  return task and not FINAL[task.state]
end

-- What is to be done with a schedule, as schedule_make() is given it.
local function move_given(name, due, id, following, missed, missed_id)
  bytes_given(name, 'the name', 1024 * 1024) -- as it was found
  due_given(following, 'next')
  number_given(missed, 'missed', 0, MOST_COUNT)
  for _, one in ipairs({ id, missed_id }) do
    if one ~= '' and (string.sub(one, 1, #name + 1) ~= name .. '.' or not is_id(one)) then
      complain('invalid_id', 'bad task id ' .. shown(one) .. ': it must begin with the name of its schedule')
    end
  end
  if (id ~= '' or missed ~= '0') and following ~= NEVER and (whole_of(following) or 0) <= (whole_of(due) or PY.EXACT) then
    complain('invalid_value', 'next must be later than due')
  end
  if (missed ~= '0') ~= (missed_id ~= '') then complain('invalid_value', 'missed and missed_id belong together') end
end

local function leave_out(schedule, id, reason, number)
  schedule.skipped = whole((whole_of(schedule.skipped) or 0) + number)
  schedule.last_skipped, schedule.skip_reason = id, reason
  event('skipped', id, nil, nil, number > 1 and reason .. ':' .. whole(number) or reason)
end

-- What becomes of a due time: returns why its task can't be made, or nil. (Where that is the last that was made, it is.)
local function pass(now, schedule, id)
  --@mark one_at_a_time
  local active = schedule.overlap ~= 'allow' and schedule.last ~= id and is_active(schedule)
  if schedule.overlap == 'queue' and (active or schedule.queue) then
    local _, waiting = string.gsub(schedule.queue or '', '%S+', '')
    if waiting >= MOST_QUEUED then
      leave_out(schedule, id, 'queue_full', 1)
    else
      schedule.queue = (schedule.queue and schedule.queue .. ' ' or '') .. id
    end
  elseif active then
    leave_out(schedule, id, 'overlap', 1)
  else
    return task_make(now, schedule, id)
  end
end

-- The first of the due times that wait, once the task before has ended: returns why not, or nil.
local function pass_queued(now, schedule)
  if not schedule.queue or is_active(schedule) then return end
  local id, rest = string.match(schedule.queue, '^(%S+) ?(.*)$')
  local fault = not (id and is_id(id) and #id <= MOST_ID) and 'its queue was damaged' or task_make(now, schedule, id)
  if not fault then schedule.queue = rest ~= '' and rest or nil end
  return fault
end

-- Returns what schedule_make() answers.
local function move_on(now, name, due, id, following, missed, missed_id)
  local schedule = schedule_read(name)
  if not schedule or not is_id(name) then
    schedule_gone(name)
    return 0
  end
  if schedule.paused then
    schedule_put(schedule) -- it stands where it needn't be looked at
    return 0
  end
  --@mark due_once
  if (schedule.due or '') ~= due then return 0 end
  schedule.again, schedule.trouble = nil, nil
  local fault = id ~= '' and pass(now, schedule, id)
  if not fault then
    if missed ~= '0' then leave_out(schedule, missed_id, 'missed', tonumber(missed)) end
    if following == NEVER and due ~= NEVER then event('schedule_ended', name) end
    schedule.due = following
    fault = pass_queued(now, schedule)
  end
  if fault then
    schedule.again, schedule.trouble = whole(now + LATER), fault
  elseif schedule.queue then
    schedule.again = whole(math.min(now + SOON, whole_of(schedule.due) or PY.EXACT))
  end
  schedule_put(schedule)
  return fault and -1 or 1
end
