--@include _check
--@include _events
-- Schedules (docs/redis-schema.md tells all fields): what is asked for again and again, and when it is due next.
--   schedule:NAME  hash: its definition, which nobody changes, and its state
--   schedules      zset: NAME by when a scheduler is to look at it, ms; +inf: not by itself
-- Processes read cron lines; here a due time is a token: who moves a schedule on says which due time it has seen.

local STATE = { 'due', 'again', 'trouble', 'paused', 'last', 'made', 'skipped', 'last_skipped', 'skip_reason', 'queue' }
local NEVER = 'never' -- where a due time would stand: it has ended

local function name_given(text)
  if text and #text <= PY.MOST_NAME and is_id(text) then return text end
  complain('invalid_id', 'bad name ' .. shown(text or '') .. ': use 1 to ' .. PY.MOST_NAME
    .. " letters, digits, '.', '_' or '-', beginning with a letter or digit")
  return 'x'
end

-- A due time in ms, or that there is none any more.
local function due_given(text, what)
  if text ~= NEVER then number_given(text, what, 0, MOST_TIME) end
  return text
end

-- A line for people.
local function line_of_text_given(text, what, most)
  if text and #text <= most and not find(text, '%c') then return text end
  complain('invalid_value', what .. ' must be a line of at most ' .. most .. ' bytes, not ' .. shown(text or ''))
  return ''
end

-- Name → text, with its own name as `name`; nil: there is none.
local function schedule_read(name)
  local flat = read('HGETALL', P .. 'schedule:' .. name)
  if flat.err or #flat == 0 then return nil end
  local schedule = {}
  for i = 1, #flat, 2 do schedule[flat[i]] = flat[i + 1] end
  schedule.name = name
  return schedule
end

local function schedule_missing(name)
  return refuse('schedule_not_found', 'no schedule ' .. name)
end

-- When somebody is to look at it. `again`: sooner or later than it is due.
local function look_at(schedule)
  if schedule.paused then return '+inf' end
  local look = whole_of(schedule.again) or whole_of(schedule.due)
  return look and whole(look) or '+inf'
end

-- An entry of the index for which there is none.
local function schedule_gone(name)
  read('ZREM', P .. 'schedules', name)
end

-- Its state as it is now, and where it stands in the index. (An index of another type is the audit's to mend.)
local function schedule_put(schedule)
  local set, gone = {}, {}
  for _, name in ipairs(STATE) do
    if schedule[name] then
      set[#set + 1], set[#set + 2] = name, schedule[name]
    else
      gone[#gone + 1] = name
    end
  end
  local key = P .. 'schedule:' .. schedule.name
  if #set > 0 then call('HSET', key, unpack(set)) end
  if #gone > 0 then call('HDEL', key, unpack(gone)) end
  read('ZADD', P .. 'schedules', look_at(schedule), schedule.name)
end
