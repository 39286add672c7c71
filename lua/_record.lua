--@include _base
-- The record of a task, in three parts; each is written once, by who knows it (docs/redis-schema.md tells all lines):
--   request  string task:ID   what was asked for; changed by what users do, and when the task goes back to its queue
--   attempt  hash placed: ID  where it is now: TOKEN NODE:INCARNATION PLACED_MS ATTEMPT, then ` name=value` for what isn't usual
--   outcome  string ended:ID  how it has ended, or (state=retry) how the last attempt has of one that goes on
-- Requests and outcomes are lines `name=value`; what isn't there is its default; the last value is raw, to the end. This is
-- the one place where scripts read and write them: as a text, or as a table name → text. What is written is collected, and
-- seen by who reads it here afterwards; records_flush() writes each part once.

-- The lines of a request and of an outcome, in their order; of a request's those behind `watch` are rare, but for `run`.
local REQUEST = {
  'class', 'turn', 'digest', 'at', 'watch', 'state', 'due', 'delay', 'priority', 'retries', 'retries_used', 'crashes',
  'crash_limit', 'time_limit', 'elastic', 'preemptible', 'max_cpu', 'max_memory', 'payload', 'attempts', 'preempted',
  'released', 'first_memory', 'asked', 'refusal', 'reason', 'operation', 'array', 'run',
}
local OUTCOME = { 'state', 'at', 'attempt', 'reason', 'exit_code', 'stored' }
local ATTEMPT = { 'started', 'allocated', 'resize', 'after', 'reason', 'progress', 'watch', 'more' }
local FINAL = { completed = true, failed = true, cancelled = true }
local USUAL, NONE = {}, {} -- what is rare of a usual request; no ids
local VALUES = 4000 -- of one command: it takes less than 8,000 from a script

-- Of each part: ID → text (false: there is none), and the ids of what is to be written.
local records = {
  request = { known = {}, new = {} }, attempt = { known = {}, new = {} }, outcome = { known = {}, new = {} },
}

-- Lines as name → value, and the raw value behind the first `raw=` that begins a line.
local function lines_parse(text, raw)
  local fields = {}
  local from = string.find(text, '\n' .. raw .. '=', 1, true)
  if from then fields[raw] = string.sub(text, from + #raw + 2) end
  for name, value in string.gmatch(from and string.sub(text, 1, from) or text .. '\n', '([a-z_]+)=([^\n]*)\n') do
    fields[name] = fields[name] and name == 'refusal' and fields[name] .. '\n' .. value or value
  end
  return fields
end

local function text_of(value)
  return type(value) == 'number' and whole(value) or value
end

local function lines_format(names, fields, raw)
  local lines = {}
  for _, name in ipairs(names) do
    local value = fields[name]
    if name == 'refusal' and value then value = string.gsub(value, '\n', '\nrefusal=') end
    if value then lines[#lines + 1] = name .. '=' .. text_of(value) end
  end
  lines[#lines + 1] = fields[raw] and raw .. '=' .. fields[raw] or ''
  return table.concat(lines, '\n')
end

-- Of these ids those of which a part wasn't read yet; it is as if there were none, until what is read is noted.
local function unread(part, ids)
  local known, missing = part.known, {}
  for _, id in ipairs(ids) do
    if known[id] == nil then
      known[id] = false
      missing[#missing + 1] = id
    end
  end
  return missing
end

local function noted(part, ids, texts, from)
  for i, id in ipairs(ids) do part.known[id] = texts[from + i] end
end

local function part_put(part, id, text)
  if part.known[id] == text then return end
  part.known[id] = text
  part.new[#part.new + 1] = id
end

-- Reads all parts of these, or only one, in two commands.
local function records_fetch(ids, only)
  local asked = (not only or only == 'request') and unread(records.request, ids) or NONE
  local over = (not only or only == 'outcome') and unread(records.outcome, ids) or NONE
  local placed = (not only or only == 'attempt') and unread(records.attempt, ids) or NONE
  if #asked + #over > 0 then
    local keys = {}
    for i, id in ipairs(asked) do keys[i] = P .. 'task:' .. id end
    for i, id in ipairs(over) do keys[#asked + i] = P .. 'ended:' .. id end
    local texts = call('MGET', unpack(keys))
    noted(records.request, asked, texts, 0)
    noted(records.outcome, over, texts, #asked)
  end
  if #placed > 0 then
    local texts = read('HMGET', P .. 'placed', unpack(placed))
    if not texts.err then noted(records.attempt, placed, texts, 0) end
  end
end

local function text_of_part(name, id)
  local known = records[name].known
  if known[id] == nil then records_fetch({ id }, name) end
  return known[id] or nil
end

-- Nil: there is none.
local function request_text(id)
  return text_of_part('request', id)
end

-- The sequence of a task stands in its request without the zeros in front.
local function turn_short(sequence)
  return string.match(sequence, '^0*(.+)$') or sequence
end

-- Name → text.
local function request_parse(text)
  local request = lines_parse(text, 'with')
  if request.turn then request.turn = string.rep('0', PY.SEQUENCE - #request.turn) .. request.turn end
  return request
end

-- Name → text; nil: there is none.
local function request_of(id)
  local text = text_of_part('request', id)
  return text and request_parse(text)
end

-- What placing needs of a request: its class, who waits for its end (nil: nobody), and what is rare. Most have nothing that
-- is: then that is empty, and one look at the text is enough.
local function request_read(text)
  local class, at = string.match(text, '^class=([^\n]+)\nturn=%x+\ndigest=[^\n]*\nat=%d+\n()')
  if class and string.find(text, '^run=', at) then return class, nil, USUAL end
  local watch = class and string.match(text, '^watch=(%S+)\nrun=', at)
  if watch then return class, watch, USUAL end
  local request = request_parse(text)
  return request.class, request.watch, request
end

-- Whether that is what was asked for.
local function has_digest(text, digest)
  return string.match(text, '\ndigest=([^\n]*)\n') == digest
end

local function request_format(request)
  local sequence = request.turn
  request.turn, request.with = sequence and turn_short(sequence), request.with or ''
  local text = lines_format(REQUEST, request, 'with')
  request.turn = sequence
  return text
end

-- What gives the text of this request with any sequence: all else is the same.
local function request_maker(request)
  request.turn = '?'
  local before, behind = string.match(request_format(request), '^(class=[^\n]*\nturn=)%?(.*)$')
  return function(sequence) return before .. turn_short(sequence) .. behind end
end

-- A text, or by names.
local function request_put(id, request)
  part_put(records.request, id, type(request) == 'table' and request_format(request) or request)
end

-- Name → text, with token, place (NODE:INCARNATION), placed (ms), number, and the text itself; nil: it is none.
local function attempt_parse(text)
  local token, place, placed, number, rest = string.match(text, '^(%S+) (%S+:%S+) (%d+) (%d+)(.*)$')
  if not token then return nil end
  local attempt = { token = token, place = place, placed = placed, number = number, text = text }
  if rest ~= '' then
    for name, value in string.gmatch(rest, ' ([a-z_]+)=(%S*)') do attempt[name] = value end
  end
  return attempt
end

local function attempt_format(attempt)
  local parts = { attempt.token, attempt.place, text_of(attempt.placed), text_of(attempt.number) }
  for _, name in ipairs(ATTEMPT) do
    if attempt[name] then parts[#parts + 1] = name .. '=' .. text_of(attempt[name]) end
  end
  return table.concat(parts, ' ')
end

-- Where a task is now; nil: nowhere.
local function attempt_of(id)
  local text = text_of_part('attempt', id)
  return text and attempt_parse(text)
end

-- A text, or by names, or nil: it is over.
local function attempt_put(id, attempt)
  part_put(records.attempt, id, type(attempt) == 'table' and attempt_format(attempt) or attempt or false)
end

-- An attempt begins. Its end must read the request (`more`) where what follows a good one, too, depends on that.
local function attempt_begin(id, token, place, placed, number, watch, request)
  local text = token .. ' ' .. place .. ' ' .. placed .. ' ' .. number
  if watch then text = text .. ' watch=' .. watch end
  if request.retries_used or request.crashes or request.asked or request.preemptible then text = text .. ' more=1' end
  part_put(records.attempt, id, text)
end

-- Changes what a task's attempt says by these names. A task that has none isn't changed.
local function attempt_change(id, names)
  local attempt = attempt_of(id)
  if not attempt then return end
  for name, value in pairs(names) do attempt[name] = value end
  attempt_put(id, attempt)
end

-- Name → text, but the attempt by names, too; nil: there is none.
local function outcome_of(id)
  local text = text_of_part('outcome', id)
  if not text then return nil end
  local outcome = lines_parse(text, string.find(text, '^state=completed\n') and 'result' or 'error')
  outcome.attempt = attempt_parse(outcome.attempt or '')
  return outcome
end

-- A text, or by names, or nil: there is none any more.
local function outcome_put(id, outcome)
  if type(outcome) == 'table' then
    local attempt = outcome.attempt
    outcome.attempt = attempt and attempt_format(attempt)
    part_put(records.outcome, id, lines_format(OUTCOME, outcome, outcome.state == 'completed' and 'result' or 'error'))
    outcome.attempt = attempt
  else
    part_put(records.outcome, id, outcome or false)
  end
end

-- The request of a task that is on no node and hasn't ended; false: there is none such; nil: that wasn't read yet.
local function request_waiting(id)
  local request, outcome = records.request.known[id], records.outcome.known[id]
  if request == nil or outcome == nil then return nil end
  return not records.attempt.known[id] and (not outcome or string.find(outcome, '^state=retry\n')) and request
end

-- Of an array: how many elements haven't been made, as far as that can be read.
local function unmade_of(id, extent)
  local next_index, apart = unpack(fields_of(P .. 'array:' .. id, 'next', 'apart'))
  local last, number = string.match(extent, '^%d+-(%d+)$'), whole_of(next_index)
  return last and number and last - number + 1 - (whole_of(apart) or 0) or 1
end

-- A task is where its id stands.
local function state_of(id, request, attempt, outcome)
  if attempt then return attempt.started and 'running' or 'assigned' end
  if outcome and FINAL[outcome.state] then return outcome.state end
  if request.state == 'held' or request.state == 'delayed' then return request.state end
  return request.array and unmade_of(id, request.array) <= 0 and 'running' or 'pending'
end

-- A known task: its parts and its state, or nil.
local function task_read(id)
  local request = request_of(id)
  if not request then return nil end
  local attempt, outcome = attempt_of(id), outcome_of(id)
  return { id = id, request = request, attempt = attempt, outcome = outcome, state = state_of(id, request, attempt, outcome) }
end

-- Its attempt, or that with which it has ended; of one that waits how many there were, and who waits.
local function last_attempt(task)
  local request, outcome = task.request, task.outcome
  return task.attempt or (outcome and FINAL[outcome.state] and outcome.attempt)
    or { number = request.attempts, watch = request.watch }
end

-- Nothing is left of these, but what stands in an index.
local function records_drop(ids)
  local keys = {}
  for _, id in ipairs(ids) do
    for _, name in ipairs({ 'request', 'outcome' }) do
      records[name].known[id] = nil
      part_put(records[name], id, false)
    end
    for _, kind in ipairs({ 'payload:', 'result:', 'log:' }) do keys[#keys + 1] = P .. kind .. id end
  end
  call('UNLINK', unpack(keys))
end

-- What is to be written: those with a text as KEY, TEXT, … to `set`, the keys of the others to `gone`. (One that has
-- changed twice stands there twice, with what it is now.)
local function changes(part, prefix, set, gone)
  local known = part.known
  for _, id in ipairs(part.new) do
    local text = known[id]
    if text then
      local n = #set
      set[n + 1], set[n + 2] = prefix .. id, text
    else
      gone[#gone + 1] = prefix .. id
    end
  end
  part.new = {}
end

local function in_parts(write, values)
  for i = 1, #values, VALUES do write(unpack(values, i, math.min(i + VALUES - 1, #values))) end
end

local function records_flush()
  local set, gone, begun, over = {}, {}, {}, {}
  changes(records.request, P .. 'task:', set, gone)
  changes(records.outcome, P .. 'ended:', set, gone)
  changes(records.attempt, '', begun, over)
  in_parts(function(...) call('MSET', ...) end, set)
  in_parts(function(...) call('UNLINK', ...) end, gone)
  in_parts(function(...) read('HDEL', P .. 'placed', ...) end, over)
  in_parts(function(...) hash_set(P .. 'placed', ...) end, begun)
end
