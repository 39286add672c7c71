--@include _schema
-- What a script is given is checked before it is used: whoever may call scripts may call them with anything. A script
-- binds its arguments to names with these functions, and answers what is wrong, if something is, before its first write:
--   arguments_given(3)
--   local now, id, cpu = time_given(ARGV[1]), task_given(ARGV[2]), number_given(ARGV[3], 'cpu', 1, PY.MOST_CPU)
--   if wrong() then return wrong() end
-- What is wrong is given on as what is harmless, so that the bindings need no checks.

local MOST_TIME = 2 ^ 47                -- ms: the year 6429; with any duration on top it is still a date
local MOST_DURATION = 1e12              -- ms
local MOST_COUNT = 2 ^ 52               -- of anything that is counted on: exact, and with room above
local MOST_ITEMS = 4096                 -- of a list: a command takes less than 8,000 values from a script
local MOST_BATCH = 1000                 -- of what is done at a time
local ID = '^%w[%w._-]*$'

local find = string.find
local first_wrong -- the refusal of the first argument that isn't what it should be

local function complain(code, text)
  first_wrong = first_wrong or refuse(code, text)
end

-- The refusal of the first argument that isn't what it should be; nil: all are.
local function wrong()
  return first_wrong
end

-- What is wrong with what was looked at since, in words; nil: nothing. For what isn't given, and is checked in the same way.
local function complaint()
  local said = first_wrong
  first_wrong = nil
  return said and string.match(said.err, '^%S+ (.*)$')
end

-- Anything as one line of ASCII.
local function shown(text)
  return "'" .. string.gsub(string.sub(text, 1, 40), '[^ -~]', '?') .. "'"
end

-- What every call must have: a prefix, and so many arguments; where `width` is given, items of so many each follow.
local function agents_arguments_given(number, width)
  if not find(P, '^rqs:{%w[%w._-]*}:$') or #P > 140 or #KEYS ~= 1 then
    complain('invalid_value', 'KEYS must be the prefix of a namespace, rqs:{NAME}:, not ' .. shown(P))
  end
  local more = #ARGV - number
  if more == 0 or (width and more > 0 and more <= MOST_ITEMS * width and more % width == 0) then return end
  complain('invalid_value', #ARGV .. ' arguments are too few, too many or no whole items (' .. number
    .. (width and ', then at most ' .. MOST_ITEMS .. ' items of ' .. width or '') .. ')')
end

-- The same, and the data are of the version that this works on. (A call in the name of a registration needs no look:
-- node_of finds that it was given up, as all are when data are converted.)
local function arguments_given(number, width)
  agents_arguments_given(number, width)
  local other = schema_wrong()
  if other then complain('other_schema', other) end
end

local function number_given(text, what, least, most)
  -- As Redis writes numbers: it takes no -0 and no 007, and the text may be given on to it.
  local number = text and (text == '0' or find(text, '^%-?[1-9]%d*$')) and tonumber(text)
  if number and number >= least and number <= most then return number end
  complain('invalid_value', what .. ' must be a whole number from ' .. whole(least) .. ' to ' .. whole(most) .. ', not '
    .. shown(text or ''))
  return least
end

-- Redis' time in ms, unless the caller moves the clock.
local function time_given(text)
  if text == '' then return clock('') end
  return number_given(text, 'now_ms', 0, MOST_TIME)
end

local function duration_given(text, what)
  return number_given(text, what, 0, MOST_DURATION)
end

local function batch_given(text, what)
  return number_given(text, what or 'limit', 1, MOST_BATCH)
end

local function fraction_given(text, what)
  local number = text and find(text, '^[%d.e+-]+$') and tonumber(text)
  if number and number >= 0 and number <= 1 then return number + 0 end
  complain('invalid_value', what .. ' must be a number from 0 to 1, not ' .. shown(text or ''))
  return 0
end

-- Of HSCAN: up to 20 digits.
local function cursor_given(text)
  if text and #text <= 20 and find(text, '^%d+$') then return text end
  complain('invalid_value', 'the cursor must be 0 or as answered, not ' .. shown(text or ''))
  return '0'
end

local function flag_given(text, what)
  if text ~= '0' and text ~= '1' then complain('invalid_value', what .. ' must be 0 or 1, not ' .. shown(text or '')) end
  return text == '1'
end

local function choice_given(text, what, choices)
  if not choices[text or ''] then complain('invalid_value', what .. ' can\'t be ' .. shown(text or '')) end
  return text
end

local function is_id(text)
  return #text <= 128 and find(text, ID) ~= nil
end

-- An id as users give them: of a task, a node. The names that programs make up have the same form: incarnations, tokens,
-- operations, channels.
local function id_given(text, what)
  if text and is_id(text) then return text end
  complain('invalid_id', 'bad ' .. what .. ' ' .. shown(text or '')
    .. ": use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit")
  return 'x'
end

-- The id of a task that may be there: as users give them, or ARRAY/INDEX.
local function task_given(text)
  local array, index = string.match(text or '', '^([^/]+)/(%d+)$')
  if not array then return id_given(text, 'task id') end
  if is_id(array) and #index <= 9 and (index == '0' or string.byte(index) ~= 48) then return text end
  complain('invalid_id', 'bad task id ' .. shown(text) .. ': an element of an array is ARRAY/INDEX, such as sweep/17')
  return 'x'
end

local function bytes_given(text, what, most)
  if text and #text <= most then return text end
  complain('payload_too_large', what .. ' has ' .. #(text or '') .. ' bytes, at most ' .. most .. ' are taken')
  return ''
end

-- Text for the decision log, whose items are parted by spaces.
local function word_given(text, what, most)
  if text and #text <= most and not find(text, '[%c ]') then return text end
  complain('invalid_value', what .. ' must be at most ' .. most .. ' bytes without spaces, not ' .. shown(text or ''))
  return ''
end

local function are_labels(text)
  local known, number, length = {}, 0, 0
  for label in string.gmatch(text, '%+([a-z0-9._-]+)') do
    if known[label] or #label > 32 then return false end
    known[label], number, length = true, number + 1, length + 1 + #label
  end
  return number <= PY.MOST_LABELS and length == #text
end

-- As at the end of a class's name: +gpu+ssd, '' none.
local function labels_given(text)
  if text and are_labels(text) then return text end
  complain('invalid_label', 'bad labels ' .. shown(text or '') .. ": use at most PY.MOST_LABELS, each once, each '+' and 1 to 32 of a-z 0-9 . _ -")
  return ''
end

-- Names and members that may be damaged, as `doctor` found them in Redis: only their length is looked at.
local function found_given(text, what)
  return bytes_given(text, what, 1024 * 1024)
end
