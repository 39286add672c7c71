--@include _check
--@include _required
-- What is asked for when a task is submitted, as records.py encodes it: lines of its request, checked like everything that is
-- given.

-- Lines of the request that a submit may set, with their ranges; besides run, with and elastic.
local RANGES = {
  priority = { -PY.MOST_PRIORITY, PY.MOST_PRIORITY }, delay = { 0, MOST_DURATION }, deadline = { 1, MOST_DURATION },
  retries = { 0, PY.MOST_PRIORITY },
  crash_limit = { 1, PY.MOST_PRIORITY }, time_limit = { 1, MOST_DURATION }, preemptible = { 1, 1 },
  max_cpu = { 1, PY.MOST_CPU }, max_memory = { 1, PY.MOST_MEMORY }, log_limit = { 1, PY.MOST_OUTPUT_LIMIT },
  uses = { 1, 1 },
}
local TEXTS = { name = 1024, tags = 16384 } -- lines of any text, and the bytes that they have at most
local MOST_DIGEST, MOST_ID = 64, 128 -- bytes
local ELASTIC = { off = true, cpu = true, all = true }

local needs_given, heads_given = {}, {} -- that were right in this call: few differ. (A head is all before the arguments.)

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
end

-- What is required beside CPU and memory; nobody has refused what is new.
local function required_given(text)
  local labels, amounts, limits, refused = string.match(text, REQUIRED)
  labels_given(labels .. refused)
  if not amounts_parse(amounts) then
    complain('invalid_resources', 'bad amounts ' .. shown(amounts) .. ": use at most PY.MOST_AMOUNTS, each once, each '*NAME=' and thousandths:"
      .. ' less than 1000, or whole thousands')
  end
  local asked = limits_parse(limits)
  if not asked then
    complain('invalid_value', 'bad limits ' .. shown(limits) .. ": use at most PY.MOST_AMOUNTS, each once, each '@NAME=' and a whole number")
  end
  for _, one in ipairs(asked or {}) do
    --@mark limit_known
    if not field_of(P .. 'limits', one.name) then
      complain('limit_unknown', 'there is no limit ' .. one.name .. ': `rq-sched limits` lists them, `rq-sched limit ' .. one.name
        .. ' 20` sets it')
    end
  end
end

-- CPU and memory of a class's name, CPU:MEMORY and what is required beside them.
local function class_given(name)
  local cpu, memory, required = string.match(name, '^(%d+):([1-9]%d*)(.*)$')
  if cpu and #cpu > 1 and string.byte(cpu) == 48 then cpu = nil end -- 0 in front
  local need = { cpu = tonumber(cpu) or 0, memory = tonumber(memory) or 0 }
  if not cpu or need.cpu > PY.MOST_CPU or need.memory > PY.MOST_MEMORY then
    complain('invalid_resources', 'bad needs ' .. shown(name) .. ': write CPU:MB, with 1 to ' .. PY.MOST_CPU .. ' cores and 1 to '
      .. PY.MOST_MEMORY .. ' MB')
  end
  if required and required ~= '' then required_given(required) end
  needs_given[name] = need
  return need
end

local function line_given(name, value, need)
  local range = RANGES[name]
  if range then
    local number = number_given(value, name, unpack(range))
    if (name == 'max_cpu' and number < need.cpu) or (name == 'max_memory' and number < need.memory) then
      complain('invalid_value', 'the maximum ' .. whole(number) .. ' is below the need')
    end
  elseif name == 'run' then
    function_given(value)
  elseif TEXTS[name] then
    if #value > TEXTS[name] or not is_utf8(value) then
      complain('invalid_value', name .. ' must be up to ' .. TEXTS[name] .. ' bytes of text, not ' .. shown(value))
    end
  elseif name == 'on_failure' then
    choice_given(value, 'on_failure', { keep = true })
  elseif name == 'infeasible' then
    choice_given(value, 'infeasible', { fail = true })
  elseif name == 'elastic' then
    choice_given(value, 'elastic', ELASTIC)
  else
    complain('invalid_value', 'a submit sets no line ' .. shown(name))
  end
end

local function digest_given(text)
  if text == '' or #text > MOST_DIGEST or find(text, '[%c ]') then
    complain('invalid_value', 'the digest must be 1 to ' .. MOST_DIGEST .. ' bytes without spaces, not ' .. shown(text))
  end
end

-- Words of a batch: where not all are of this form, each is looked at.
local function words_given(words, form, each)
  local left, right = string.gsub(table.concat(words, ' ') .. ' ', form, '')
  if left == '' and right == #words then return end
  for _, word in ipairs(words) do each(word) end
end

-- Whether these were right in this call already, and the arguments are short: what is usual costs no more.
local function were_given(class, text)
  local head = string.match(text, '^run=[^\n]*\nwith=')
  return head and heads_given[head] and needs_given[class] and #text - #head <= PY.INLINE
end

-- What is asked for, name → value, but for the id: the lines, and behind the last one's name the arguments as they are.
local function request_given(id, class, digest, text)
  if #id > MOST_ID then id_given(id, 'task id') end
  digest_given(digest)
  local need = needs_given[class] or class_given(class)
  local request, lines = {}, 0
  local arguments_at = find('\n' .. text, '\nwith=', 1, true) or #text + 1
  for name, value in string.gmatch(string.sub(text, 1, arguments_at - 1), '([a-z_]+)=([^\n]*)\n') do
    if request[name] then complain('invalid_value', 'the line ' .. shown(name) .. ' is given twice') end
    line_given(name, value, need)
    request[name], lines = value, lines + #name + #value + 2
  end
  if lines ~= arguments_at - 1 or arguments_at > #text then
    complain('invalid_value', 'what is asked for must be lines name=value, and behind them the arguments as with=BYTES')
  end
  if not request.run then complain('invalid_target', 'no function is given') end
  request.with = bytes_given(string.sub(text, arguments_at + 5), 'the arguments', PY.MOST_PAYLOAD)
  if not wrong() then heads_given[string.sub(text, 1, arguments_at + 4)] = true end
  return request
end

-- Of a request that was given: what isn't the default goes, and long arguments go beside it. `waits`: for others, before it
-- is delayed.
local function request_begin(id, request, class, digest, now, watch, waits)
  request.class, request.digest, request.at, request.watch = class, digest, stamp(now), watch ~= '' and watch or nil
  if request.priority == '0' then request.priority = nil end
  if request.delay == '0' then request.delay = nil end
  if request.elastic == 'cpu' then request.elastic = nil end
  if #request.with > PY.INLINE then
    call('SET', P .. 'payload:' .. id, request.with)
    request.payload, request.with = whole(#request.with), ''
  end
  if request.deadline then
    request.expires = whole(now + tonumber(request.deadline))
    read('ZADD', P .. 'expiring', request.expires, id)
  end
  if request.delay then request.due = whole(now + tonumber(request.delay)) end
  if request.delay and not waits then
    request.state = 'delayed'
    read('ZADD', P .. 'delayed', request.due, id)
  end
end
