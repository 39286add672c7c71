#!lua
--- schedule_add: from now on tasks are made by a schedule.
-- KEYS: prefix
-- ARGV: now_ms name due class digest text cron zone interval start until overlap catch_up
--   due: its first due time, ms
--   class, digest, text: what its tasks ask for, as of task_submit
--   cron, zone: its cron line ('' none), and the zone of that; interval, start: ms, one due time each interval after start
--   ('' none); until: ms, after which it is never due ('' for ever)
--   overlap: skip, queue, allow; catch_up: none, last, all
-- Replies: a list with one number: 1 new, 0 the same is here already, -1 the name is another's: nothing of it was written
-- Refuses: nothing
-- Promises: repeated by a driver it changes nothing
--@include _request
--@include _schedule

local OVERLAP = { skip = true, queue = true, allow = true }
local CATCH_UP = { none = true, last = true, all = true }

local function number_or_nothing(text, what)
  if text ~= '' then number_given(text, what, 0, MOST_TIME) end
  return text
end

arguments_given(13)
local now, name, due = time_given(ARGV[1]), name_given(ARGV[2]), due_given(ARGV[3], 'due')
local class, digest, text = ARGV[4], ARGV[5], ARGV[6]
local cron, zone = line_of_text_given(ARGV[7], 'the cron line', 200), line_of_text_given(ARGV[8], 'the zone', 100)
local interval, start = number_or_nothing(ARGV[9], 'interval'), number_or_nothing(ARGV[10], 'start')
local last = number_or_nothing(ARGV[11], 'until')
local overlap, catch_up = choice_given(ARGV[12], 'overlap', OVERLAP), choice_given(ARGV[13], 'catch_up', CATCH_UP)
if wrong() then return wrong() end
request_given(name, class, digest, text)
if (cron == '') == (interval == '' or interval == '0') then complain('invalid_value', 'give a cron line or an interval') end
if wrong() then return wrong() end

-- All that a user says of it; not when that was, nor who has signed it.
local asked = {
  cron = cron, zone = zone, interval = interval, ['until'] = last, overlap = overlap, catch_up = catch_up, class = class,
  digest = digest,
}
local known = schedule_read(name)
if known then
  for field, value in pairs(asked) do
    if known[field] ~= value then return { -1 } end
  end
  return { 0 }
end
schema_say()
hash_set(P .. 'schedule:' .. name, 'at', stamp(now), 'start', start, 'text', text)
for field, value in pairs(asked) do call('HSET', P .. 'schedule:' .. name, field, value) end
schedule_put({ name = name, due = due, made = '0', skipped = '0' })
event('schedule_added', name)
events_flush()
return { 1 }
