#!lua flags=allow-oom
--- repair_schedule: a schedule stands where it is to be looked at, and its state is one.
-- KEYS: prefix
-- ARGV: now_ms name due trouble
--   due: when it is due next, ms, if what stands there is no due time of it (`never`; '' leave it)
--   trouble: why it can't be used ('' it can): then it is paused
-- Replies: what was done, '' nothing
-- Refuses: nothing
-- Promises: no task is made
--@include _schedule

arguments_given(4)
local name, due = found_given(ARGV[2], 'the name'), ARGV[3]
if due ~= '' then due_given(due, 'due') end
local trouble = line_of_text_given(ARGV[4], 'trouble', 1000)
if wrong() then return wrong() end

local schedule = schedule_read(name)
if not schedule or not is_id(name) or #name > PY.MOST_NAME then
  local stood = type(read('ZSCORE', P .. 'schedules', name)) == 'string'
  schedule_gone(name)
  if call('DEL', P .. 'schedule:' .. name) == 1 or stood then return 'there is no such schedule: what stood there was removed' end
  return ''
end
local done = {}
local function mend(field, value, what)
  schedule[field] = value
  done[#done + 1] = what
end
for _, number in ipairs({ 'made', 'skipped' }) do
  if not whole_of(schedule[number]) then mend(number, '0', 'its count ' .. number .. ' begins anew') end
end
if schedule.again and not whole_of(schedule.again) then mend('again', nil, 'it is looked at when it is due') end
if schedule.paused and schedule.paused ~= '1' then mend('paused', '1', 'it is paused') end
for id in string.gmatch(schedule.queue or '', '[^ ]+') do
  if schedule.queue and (not is_id(id) or string.sub(id, 1, #name + 1) ~= name .. '.') then
    mend('queue', nil, 'the due times that waited are dropped')
  end
end
if due ~= '' and not schedule.paused then
  mend('due', due, due == NEVER and 'it has ended' or 'it is due at ' .. due)
  schedule.again = nil
end
if trouble ~= '' and not schedule.paused then
  mend('paused', '1', 'it is paused: ' .. trouble)
  schedule.trouble = trouble
end
local before = read('ZSCORE', P .. 'schedules', name)
schedule_put(schedule)
local after = read('ZSCORE', P .. 'schedules', name)
if type(before) ~= type(after) or (type(after) == 'string' and before ~= after) then done[#done + 1] = 'it stands in the index' end
return table.concat(done, ', ')
