--@include _check
-- What is asked for when a task is submitted, as record.py encodes it: checked like everything that is given.

-- Fields of the record that a submit may set (record.py tells what they are), with their ranges; besides f, a and e.
local RANGES = {
  ax = { 1, MOST_PAYLOAD }, X = { 1, MOST_CPU }, Y = { 1, MOST_MEMORY }, r = { 0, 2147483648 }, C = { 1, 2147483648 },
  l = { 1, MOST_DURATION }, v = { 1, 1 },
}
local ELASTIC = { off = true, cpu = true, all = true }

local needs_given, functions_given = {}, {} -- those that were found right in this call: a batch has few different ones
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
  if functions_given[text] then return end
  if #text > 4096 or string.find(text, '%c') or not string.find(text, '.:.') or not is_utf8(text) then
    complain('invalid_target', 'bad target ' .. shown(text) .. ': write a function as pkg.mod:func, a command as exec:PATH')
  end
  functions_given[text] = true
end

-- CPU and memory of a class's name, CPU:MEMORY+LABEL….
local function class_given(name)
  local need = needs_given[name]
  if need then return need end
  local cpu, memory, labels = string.match(name, '^([1-9]%d*):([1-9]%d*)(.*)$')
  need = { cpu = tonumber(cpu) or 0, memory = tonumber(memory) or 0 }
  if not cpu or need.cpu > MOST_CPU or need.memory > MOST_MEMORY then
    complain('invalid_resources', 'bad needs ' .. shown(name) .. ': write CPU:MB, with 1 to ' .. MOST_CPU .. ' cores and 1 to '
      .. MOST_MEMORY .. ' MB')
  end
  labels_given(labels or '')
  needs_given[name] = need
  return need
end

local function field_given(name, value)
  local range = RANGES[name]
  if fields_given[name] == fields_round then complain('invalid_value', 'the field ' .. shown(name) .. ' is given twice') end
  fields_given[name] = fields_round
  if range then
    return number_given(value, name, range[1], range[2])
  elseif name == 'f' then
    function_given(value)
  elseif name == 'a' then
    bytes_given(value, 'the arguments', MOST_PAYLOAD)
  elseif name == 'e' then
    choice_given(value, 'elastic', ELASTIC)
  else
    complain('invalid_value', 'a submit sets no field ' .. shown(name))
  end
end

-- What stands in ARGV from `at` on: id, digest, class, priority, delay, payload; from `first` to `last` the fields.
local function request_given(at, first, last)
  id_given(ARGV[at], 'task id')
  if #ARGV[at + 1] == 0 or #ARGV[at + 1] > 64 then complain('invalid_value', 'the digest must be 1 to 64 bytes') end
  local need = class_given(ARGV[at + 2])
  if ARGV[at + 3] ~= '0' then number_given(ARGV[at + 3], 'priority', -MOST_PRIORITY, MOST_PRIORITY) end
  if ARGV[at + 4] ~= '0' then duration_given(ARGV[at + 4], 'delay') end
  local payload, long = bytes_given(ARGV[at + 5], 'the arguments', MOST_PAYLOAD), 0
  fields_round = fields_round + 1
  for i = first, last, 2 do
    local name, number = ARGV[i], field_given(ARGV[i], ARGV[i + 1])
    if name == 'ax' then long = number end
    if (name == 'X' and number < need.cpu) or (name == 'Y' and number < need.memory) then
      complain('invalid_value', 'the maximum ' .. whole(number) .. ' is below the need')
    end
  end
  if fields_given.f ~= fields_round then complain('invalid_target', 'no function is given') end
  if long ~= #payload or (long > 0 and fields_given.a == fields_round) then
    complain('invalid_value', 'the arguments are not as long as they are said to be, or stand in two places')
  end
end
