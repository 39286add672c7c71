--@include _check
-- What is asked for when a task is submitted, as records.py encodes it: checked like everything that is given.

-- Fields of the record that a submit may set (records.py tells what they are), with their ranges; besides f, a and e.
local RANGES = {
  ax = { 1, PY.MOST_PAYLOAD }, X = { 1, PY.MOST_CPU }, Y = { 1, PY.MOST_MEMORY }, r = { 0, PY.MOST_PRIORITY }, C = { 1, PY.MOST_PRIORITY },
  l = { 1, MOST_DURATION }, v = { 1, 1 },
}
local MOST_SHORT, MOST_DIGEST, MOST_ID = 64, 64, 128 -- bytes
local ELASTIC = { off = true, cpu = true, all = true }

local needs_given, functions_given, priorities_given = {}, {}, { ['0'] = true } -- that were right in this call: few differ
local fields_given, fields_round = {}, 0    -- field → the task that had it last

-- Well-formed UTF-8, of any planes, without surrogates.
local function is_utf8(text)
  if not string.find(text, '[\128-\255]') then return true end
  for _, form in ipairs({
    '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]', '[\225-\236\238\239][\128-\191][\128-\191]',
    '\237[\128-\159][\128-\191]', '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]',
  }) do
    text = string.gsub(text, form, ' ')
  end
  return not string.find(text, '[\128-\255]')
end

local function function_given(text)
  if #text > 4096 or string.find(text, '%c') or not string.find(text, '.:.') or not is_utf8(text) then
    complain('invalid_target', 'bad target ' .. shown(text) .. ': write a function as pkg.mod:func, a command as exec:PATH')
  end
  functions_given[text] = true
end

-- CPU and memory of a class's name, CPU:MEMORY+LABEL….
local function class_given(name)
  local cpu, memory, labels = string.match(name, '^([1-9]%d*):([1-9]%d*)(.*)$')
  local need = { cpu = tonumber(cpu) or 0, memory = tonumber(memory) or 0 }
  if not cpu or need.cpu > PY.MOST_CPU or need.memory > PY.MOST_MEMORY then
    complain('invalid_resources', 'bad needs ' .. shown(name) .. ': write CPU:MB, with 1 to ' .. PY.MOST_CPU .. ' cores and 1 to '
      .. PY.MOST_MEMORY .. ' MB')
  end
  labels_given(labels or '')
  needs_given[name] = need
  return need
end

-- A field; those that nearly all requests have are looked at before (request_given). Answers its number, if it is one.
local function field_given(name, value, need)
  local range = RANGES[name]
  if range then
    local number = number_given(value, name, unpack(range))
    if (name == 'X' and number < need.cpu) or (name == 'Y' and number < need.memory) then
      complain('invalid_value', 'the maximum ' .. whole(number) .. ' is below the need')
    end
    return number
  elseif name == 'f' then
    function_given(value)
  elseif name == 'a' then
    bytes_given(value, 'the arguments', PY.MOST_PAYLOAD)
  elseif name == 'e' then
    choice_given(value, 'elastic', ELASTIC)
  else
    complain('invalid_value', 'a submit sets no field ' .. shown(name))
  end
end

-- Whether these were right in this call already; what is usual costs no more.
local function were_given(class, priority, target)
  return needs_given[class] and priorities_given[priority] and functions_given[target]
end

-- Ids of tasks; those of a batch in one go.
local function ids_given(ids)
  local left, right = string.gsub(table.concat(ids, ' ') .. ' ', '%w[%w._-]* ', '')
  if left == '' and right == #ids then return end
  for _, id in ipairs(ids) do id_given(id, 'task id') end
end

-- What stands in ARGV from `at` on, but for its id: digest, class, priority, delay, payload; from `first` to `last` the fields.
local function request_given(at, first, last)
  local digest, class, priority = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if #ARGV[at] > MOST_ID then id_given(ARGV[at], 'task id') end
  if #digest > MOST_DIGEST then complain('invalid_value', 'the digest has more than ' .. MOST_DIGEST .. ' bytes') end
  local need = needs_given[class] or class_given(class)
  if not priorities_given[priority] then
    number_given(priority, 'priority', -PY.MOST_PRIORITY, PY.MOST_PRIORITY)
    priorities_given[priority] = true
  end
  if ARGV[at + 4] ~= '0' then duration_given(ARGV[at + 4], 'delay') end
  local payload, long, round = ARGV[at + 5], 0, fields_round + 1
  fields_round = round
  for i = first, last, 2 do
    local name, value = ARGV[i], ARGV[i + 1]
    if fields_given[name] == round then complain('invalid_value', 'the field ' .. shown(name) .. ' is given twice') end
    fields_given[name] = round
    if not functions_given[value] or name ~= 'f' then
      if name ~= 'a' or #value > MOST_SHORT then
        local number = field_given(name, value, need)
        if name == 'ax' then long = number end
      end
    end
  end
  if fields_given.f ~= round then complain('invalid_target', 'no function is given') end
  if payload ~= '' or long > 0 then
    bytes_given(payload, 'the arguments', PY.MOST_PAYLOAD)
    if long ~= #payload or fields_given.a == round then
      complain('invalid_value', 'the arguments are not as long as they are said to be, or stand in two places')
    end
  end
end
