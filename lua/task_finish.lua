#!lua flags=allow-oom
--- task_finish: a node reports the ends of attempts and is refilled in the same call
-- (assigned | running → completed | failed | cancelled | delayed | pending; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked nonce limit random *reports
--   each report: token, task id, outcome, ran (ms, '' never started), reason, result, error, exit code, output
-- Replies: {outcomes, orders}: `recorded` or `stale` a report; all orders after `acked`, in full
--   (at most `limit`, and beyond that only resize orders of those whose surplus new starts get)
-- Refuses: stale_incarnation
-- Promises: one recorded outcome an attempt: a report counts only while its token is on the ledger; sent again it
--   answers `recorded` and changes nothing; the node gets the earliest tasks that fit before others can be placed there
--@include _end_attempt
--@include _fill
--@include _orders
--@include _output
--@include _commit

local FIRST, WIDTH = 8, 9
local OUTCOMES = { completed = true, failed = true, crashed = true, returned = true, stopped = true }

-- A report without its token and task: what isn't on the ledger is refused there.
local function report_given(at)
  choice_given(ARGV[at + 2], 'outcome', OUTCOMES)
  if ARGV[at + 3] ~= '' then duration_given(ARGV[at + 3], 'ran') end
  if ARGV[at + 4] ~= '' then word_given(ARGV[at + 4], 'reason', 128) end
  bytes_given(ARGV[at + 5], 'the result', PY.MOST_PAYLOAD)
  bytes_given(ARGV[at + 6], 'the error', PY.MOST_PAYLOAD)
  if ARGV[at + 7] ~= '' then number_given(ARGV[at + 7], 'exit code', -PY.MOST_PRIORITY, PY.MOST_PRIORITY) end
  bytes_given(ARGV[at + 8], 'the output', MOST_OUTPUT)
end

-- What is usual is let pass by comparisons.
local function reports_given()
  local times, n = {}, 0
  for at = FIRST, #ARGV, WIDTH do
    n = n + 1
    times[n] = ARGV[at + 3]
    if ARGV[at + 2] ~= 'completed' or ARGV[at + 4] ~= '' or #ARGV[at + 5] > PY.MOST_PAYLOAD or ARGV[at + 6] ~= ''
      or ARGV[at + 7] ~= '' or #ARGV[at + 8] > MOST_OUTPUT or #times[n] > 12 then
      report_given(at)
    end
  end
  if find(table.concat(times), '%D') then complain('invalid_value', 'how long it ran must be a number of ms') end
end

agents_arguments_given(FIRST - 1, WIDTH)
local now, node_id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local acked, nonce = number_given(ARGV[4], 'acked', 0, MOST_COUNT), id_given(ARGV[5], 'nonce')
local limit, random = number_given(ARGV[6], 'limit', 0, MOST_BATCH), fraction_given(ARGV[7], 'random')
if not wrong() then reports_given() end
if wrong() then return wrong() end

local node, stale = node_of(node_id, incarnation)
if stale then return stale end
acknowledge(node, acked)

-- A report whose token is gone: the same report came before, or the attempt was taken away.
local function late(id, token)
  return read('HGET', P .. 'task:' .. id, 'k') == token and 'recorded' or 'stale'
end

-- An entry of the ledger that is gone, or says nothing: what its task's record says of it, while it says that it runs here.
local function entry_by_record(id, token)
  local current, allocation, class, intention, state, place =
    unpack(fields_of(P .. 'task:' .. id, 'k', 'A', 'c', 'b', 's', 'i'))
  local cpu, memory = string.match(allocation or class or '', '^(%d+):(%d+)')
  if current ~= token or not cpu or place ~= node.place or (state ~= 'running' and state ~= 'assigned') then return nil end
  return id, tonumber(cpu), tonumber(memory), intention and 's' or 'r'
end

-- Whether the room of an attempt is still taken, beside all that stands on the ledger: a repair may have given it back.
local function is_taken(cpu, memory)
  local free_cpu, free_memory = node.total_cpu, node.total_memory
  local flat, over = read('HGETALL', node.path .. ':tasks'), {}
  for _, token in ipairs(node.cleared) do over[token] = true end
  for i = 1, #flat, 2 do
    local id, entry_cpu, entry_memory = entry_parse(flat[i + 1])
    if id and not over[flat[i]] then free_cpu, free_memory = free_cpu - entry_cpu, free_memory - entry_memory end
  end
  return node.cpu + cpu <= free_cpu and node.memory + memory <= free_memory
end

local function finish(at, entry)
  local token, given_id, outcome, ran = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local id, cpu, memory, mark = entry_parse(entry or '')
  if not id then id, cpu, memory, mark = entry_by_record(given_id, token) end
  --@mark late_report
  if not id and not entry then return late(given_id, token) end
  if id ~= given_id then return 'stale' end -- a call sent again after a failover has given the token to another task
  local record = end_record(id, mark, outcome)
  if entry or is_taken(cpu, memory) then give_back(node, token, cpu, memory, record.S) end
  attempt_gone(node, token, record.v)
  reservation_restored(node, token)
  if record.k ~= token then return 'stale' end
  local report = {
    reason = ARGV[at + 4], result = ARGV[at + 5], error = ARGV[at + 6], exit_code = ARGV[at + 7], random = random,
    started = ran ~= '' and not record.S and whole(now - tonumber(ran)) or nil, memory = memory,
  }
  if ARGV[at + 8] ~= '' then output_append(id, ARGV[at + 8]) end
  end_safely(now, id, record, node_id, mark, outcome, report)
  return 'recorded'
end

local outcomes, orders = {}, {}
if ARGV[FIRST] then
  local tokens = {}
  for at = FIRST, #ARGV, WIDTH do tokens[#tokens + 1] = ARGV[at] end
  local entries = read('HMGET', node.path .. ':tasks', unpack(tokens))
  local seen = {}
  for i, token in ipairs(tokens) do
    outcomes[i] = finish(FIRST + (i - 1) * WIDTH, not seen[token] and entries[i] or nil)
    seen[token] = true
  end
  settle(now)
end

if node.ordered > node.acked then orders_read(node, limit, orders) end
if #orders < limit then
  local _, undone = fill_safely(now, nonce, node, limit - #orders, orders)
  if undone then wake() end
else -- too much for one reply: the room is offered later
  read('ZADD', P .. 'dirty', now, node_id)
  wake()
end
commit(now, node_id)
return { outcomes, orders }
