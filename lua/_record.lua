--@include _base
-- The record of a task, in three parts; each is written once, by who knows it (docs/redis-schema.md tells all lines):
--   request  string task:ID   what was asked for; changed by what users do, and when the task goes back to its queue
--   attempt  hash placed: ID  where it is now: TOKEN NODE:INCARNATION PLACED_MS ATTEMPT, then ` name=value` for what isn't usual
--   outcome  string ended:ID  how it has ended, or (state=retry) how the last attempt has of one that goes on
-- Requests and outcomes are lines `name=value`; what isn't there is its default; the last value is raw, to the end. This is
-- the one place where scripts read and write them: as a text, or as a table name → text. What is written is collected, and
-- seen by who reads it here afterwards; records_flush() writes each part once.

-- The lines of a request and of an outcome, in their order; behind its head those of a request are rare, but for `run`.
local HEAD = 4
local REQUEST = {
  'class', 'turn', 'digest', 'at', 'watch', 'state', 'due', 'expires', 'delay', 'deadline', 'infeasible', 'priority', 'retries', 'retries_used', 'crashes',
  'crash_limit', 'time_limit', 'elastic', 'preemptible', 'max_cpu', 'max_memory', 'log_limit', 'name', 'tags', 'payload',
  'attempts', 'preempted', 'released', 'first_memory', 'asked', 'refusal', 'reason', 'operation', 'array', 'uses', 'awaits', 'left', 'before', 'each',
  'on_failure', 'run',
}
local OUTCOME = { 'state', 'at', 'attempt', 'reason', 'exit_code', 'stored' }
local ATTEMPT = { 'started', 'allocated', 'resize', 'after', 'reason', 'progress', 'watch', 'more' }
local FINAL = { completed = true, failed = true, cancelled = true }
local RANKS = {} -- of lists of names: name → where it stands there
local PLAIN = '^class=([^\n]+)\nturn=(%x+)\ndigest=([^\n]*)\nat=(%d+)\nrun=([^\n]*)\nwith=()' -- a request without rare lines
local USUAL = {} -- what is rare of a usual request
local NONE = {} -- of what isn't there
local VALUES = 4000 -- of one command: it takes less than 8,000 from a script

-- Of each part: ID → text; false: there is none. And what is to be written: table of the part, id, …
local records = { request = {}, attempt = {}, outcome = {}, new = {} }

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

-- Those of the names that are there, in their order, behind the head: of some thirty only a few are.
local function names_there(names, fields)
  local ranks = RANKS[names]
  if not ranks then
    ranks = {}
    for rank = names == REQUEST and HEAD + 1 or 1, #names do ranks[names[rank]] = rank end
    RANKS[names] = ranks
  end
  local found, n = {}, 0
  for name in pairs(fields) do
    local rank, at = ranks[name], n
    if rank then
      while at > 0 and ranks[found[at]] > rank do
        found[at + 1], at = found[at], at - 1
      end
      found[at + 1], n = name, n + 1
    end
  end
  return found
end

local function lines_format(names, fields, raw)
  local lines = names_there(names, fields)
  local n = #lines
  for i = 1, n do
    local name = lines[i]
    local value = fields[name]
    if name == 'refusal' then value = string.gsub(value, '\n', '\nrefusal=') end
    lines[i] = name .. '=' .. text_of(value)
  end
  lines[n + 1] = fields[raw] and raw .. '=' .. fields[raw] or ''
  return table.concat(lines, '\n')
end

-- Of these ids those of which a part wasn't read yet; it is as if there were none, until what is read is noted.
local function unread(known, ids)
  local missing, n = {}, 0
  for i = 1, #ids do
    local id = ids[i]
    if known[id] == nil then
      n = n + 1
      known[id], missing[n] = false, id
    end
  end
  return missing
end

local function noted(known, ids, texts, from)
  for i = 1, #ids do known[ids[i]] = texts[from + i] end
end

local function part_put(name, id, text)
  local known, new = records[name], records.new
  if known[id] == text then return end
  known[id] = text
  local n = #new
  new[n + 1], new[n + 2] = known, id
end

-- Requests and outcomes are read in one command.
local function strings_fetch(ids, only)
  local asked = only == 'outcome' and NONE or unread(records.request, ids)
  local over = only == 'request' and NONE or unread(records.outcome, ids)
  local n, m, keys, task, ended = #asked, #over, {}, P .. 'task:', P .. 'ended:'
  if n + m == 0 then return end
  for i = 1, n do keys[i] = task .. asked[i] end
  for i = 1, m do keys[n + i] = ended .. over[i] end
  local texts = call('MGET', unpack(keys))
  noted(records.request, asked, texts, 0)
  noted(records.outcome, over, texts, n)
end

local function attempts_fetch(ids)
  local missing = unread(records.attempt, ids)
  if #missing == 0 then return end
  local texts = read('HMGET', P .. 'placed', unpack(missing))
  if not texts.err then noted(records.attempt, missing, texts, 0) end
end

-- Reads all parts of these, or only one.
local function records_fetch(ids, only)
  if only ~= 'attempt' then strings_fetch(ids, only) end
  if not only or only == 'attempt' then attempts_fetch(ids) end
end

local function text_of_part(name, id)
  local known = records[name]
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
  local request
  local class, turn, digest, at, run, with = string.match(text, PLAIN)
  if class then -- nearly all; with room for what is added as a rule
    request = { class = class, turn = turn, digest = digest, at = at, run = run, with = string.sub(text, with), attempts = nil, crashes = nil }
  else
    request = lines_parse(text, 'with')
  end
  if request.turn then request.turn = string.rep('0', PY.SEQUENCE - #request.turn) .. request.turn end
  return request
end

-- Name → text; nil: there is none.
local function request_of(id)
  local text = text_of_part('request', id)
  return text and request_parse(text)
end

-- What placing needs of a request: its class, who waits for its end (nil: nobody), and what is rare. Most have nothing that
-- is (a priority says no more than the queue does): then that is empty, and a look at the text is enough.
local function request_read(text)
  local class, at = string.match(text, '^class=([^\n]+)\nturn=%x+\ndigest=[^\n]*\nat=%d+\n()')
  local watch, behind = nil, at
  if class and string.find(text, '^watch=', at) then watch, behind = string.match(text, '^watch=(%S+)\n()', at) end
  if behind and (string.find(text, '^run=', behind) or string.find(text, '^priority=%-?%d+\nrun=', behind)) then return class, watch, USUAL end
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
  local class, turn, digest, at = request.class, request.turn, request.digest, text_of(request.at)
  local text = ''
  if class and turn and digest and at then
    text = 'class=' .. class .. '\nturn=' .. turn .. '\ndigest=' .. digest .. '\nat=' .. at .. '\n'
  else -- it was damaged
    for i = 1, HEAD do
      local name = REQUEST[i]
      if request[name] then text = text .. name .. '=' .. text_of(request[name]) .. '\n' end
    end
  end
  request.turn = sequence
  return text .. lines_format(REQUEST, request, 'with')
end

-- What gives the text of this request with any sequence: all else is the same.
local function request_maker(request)
  request.turn = '?'
  local before, behind = string.match(request_format(request), '^(class=[^\n]*\nturn=)%?(.*)$')
  return function(sequence) return before .. turn_short(sequence) .. behind end
end

-- A text, or by names.
local function request_put(id, request)
  part_put('request', id, type(request) == 'table' and request_format(request) or request)
end

-- Name → text, with token, place (NODE:INCARNATION), placed (ms), number, and the text itself; nil: it is none.
local function attempt_parse(text)
  local token, place, placed, number, rest = string.match(text, '^(%S+) (%S+:%S+) (%d+) (%d+)(.*)$')
  if not token then return nil end
  local attempt = { token = token, place = place, placed = placed, number = number, text = text }
  local started = string.match(rest, '^ started=(%d+)$')
  if started then
    attempt.started = started
  elseif rest ~= '' then
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

-- By names, or nil: it is over.
local function attempt_put(id, attempt)
  if attempt then attempt.text = attempt_format(attempt) end
  part_put('attempt', id, attempt and attempt.text or false)
end

-- An attempt begins. Its end must read the request (`more`) where what follows a good one, too, depends on that.
local function attempt_begin(id, token, place, placed, number, watch, request)
  local text = token .. ' ' .. place .. ' ' .. placed .. ' ' .. number
  if watch then text = text .. ' watch=' .. watch end
  if request.retries_used or request.crashes or request.asked or request.preemptible or request.before then
    text = text .. ' more=1'
  end
  part_put('attempt', id, text)
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
    part_put('outcome', id, lines_format(OUTCOME, outcome, outcome.state == 'completed' and 'result' or 'error'))
    outcome.attempt = attempt
  else
    part_put('outcome', id, outcome or false)
  end
end

-- The request of a task that is on no node and hasn't ended; false: there is none such; nil: that wasn't read yet.
local function request_waiting(id)
  local request, outcome = records.request[id], records.outcome[id]
  if request == nil or outcome == nil then return nil end
  return not records.attempt[id] and (not outcome or string.find(outcome, '^state=retry\n')) and request
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
  if request.left then return 'waiting' end
  return request.array and unmade_of(id, request.array) <= 0 and 'running' or 'pending'
end

-- A known task: its parts and its state, or nil. `attempt`: its own, where that is at hand.
local function task_read(id, attempt)
  local request = request_of(id)
  if not request then return nil end
  attempt = attempt or attempt_of(id)
  local outcome = outcome_of(id)
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
      records[name][id] = nil
      part_put(name, id, false)
    end
    for _, kind in ipairs({ 'payload:', 'result:', 'log:' }) do keys[#keys + 1] = P .. kind .. id end
  end
  call('UNLINK', unpack(keys))
end

-- In parts that a command takes, behind what comes before them.
local function write(how, values, first, second)
  if not values[VALUES] then -- as a rule
    if second then return how(first, second, unpack(values)) end
    return how(first, unpack(values))
  end
  for i = 1, #values, VALUES do
    local last = math.min(i + VALUES - 1, #values)
    if second then how(first, second, unpack(values, i, last)) else how(first, unpack(values, i, last)) end
  end
end

-- (What has changed twice stands there twice, as it is now.)
local function records_flush()
  local new = records.new
  if #new == 0 then return end
  local set, gone, begun, over, n, b = {}, nil, nil, nil, 0, 0
  local attempts, requests, task, ended, placed = records.attempt, records.request, P .. 'task:', P .. 'ended:', P .. 'placed'
  for i = 1, #new, 2 do
    local known, id = new[i], new[i + 1]
    local text = known[id]
    if known == attempts and text then
      begun = begun or {}
      begun[b + 1], begun[b + 2], b = id, text, b + 2
    elseif known == attempts then
      over = over or {}
      over[#over + 1] = id
    elseif text then
      set[n + 1], set[n + 2], n = (known == requests and task or ended) .. id, text, n + 2
    else
      gone = gone or {}
      gone[#gone + 1] = (known == requests and task or ended) .. id
    end
  end
  records.new = {}
  if n > 0 then write(call, set, 'MSET') end
  if gone then write(call, gone, 'UNLINK') end
  if over then write(read, over, 'HDEL', placed) end
  if begun then write(hash_set, begun, placed) end
end
