#!lua flags=allow-oom
--- task_finish: a node reports the ends of attempts and is refilled in the same call
-- (assigned | running → completed | failed | cancelled | delayed | pending; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms node_id incarnation acked nonce limit random *reports
--   each report: head, value, output; head: TOKEN ID OUTCOME RAN[ reason=WORD][ exit_code=NUMBER] with RAN in ms, `-` never
--   started; value: the result of what is completed, the error of what isn't
-- Replies: {outcomes, orders}: `recorded` or `stale` a report; all orders after `acked`, in full, a text each: as they were
--   given, or NUMBER void; of a start NUMBER start TOKEN ID ATTEMPT, a newline, and the request as it stands
--   (at most `limit`, and beyond that only resize orders of those whose surplus new starts get)
-- Refuses: stale_incarnation
-- Promises: one recorded outcome an attempt: a report counts only while its token is on the ledger; sent again it
--   answers `recorded` and changes nothing; the node gets the earliest tasks that fit before others can be placed there
--@include _end_attempt
--@include _fill
--@include _orders
--@include _output
--@include _report
--@include _commit

local FIRST, WIDTH = 8, 3
local reports = {}

agents_arguments_given(FIRST - 1, WIDTH)
local now, node_id, incarnation = time_given(ARGV[1]), id_given(ARGV[2], 'node id'), id_given(ARGV[3], 'incarnation')
local acked, nonce = number_given(ARGV[4], 'acked', 0, MOST_COUNT), id_given(ARGV[5], 'nonce')
local limit, random = number_given(ARGV[6], 'limit', 0, MOST_BATCH), fraction_given(ARGV[7], 'random')
if wrong() then return wrong() end
for at = FIRST, #ARGV, WIDTH do reports[#reports + 1] = report_given(ARGV[at], ARGV[at + 1], ARGV[at + 2]) end
if wrong() then return wrong() end

local node, stale = node_of(node_id, incarnation)
if stale then return stale end
acknowledge(node, acked)

-- A report whose token is gone: the same report came before, or the attempt was taken away.
local function late(id, token)
  local task = task_read(id)
  local last = task and (task.attempt or (task.outcome and task.outcome.attempt))
  return last and last.token == token and 'recorded' or 'stale'
end

-- An entry of the ledger that is gone, or says nothing: what the task's attempt says of it, while it is here.
local function entry_by_attempt(id, token)
  local attempt = attempt_of(id)
  if not attempt or attempt.token ~= token or attempt.place ~= node.place then return nil end
  local cpu, memory = string.match(attempt.allocated or (request_of(id) or {}).class or '', '^(%d+):(%d+)')
  if not cpu then return nil end
  return id, tonumber(cpu), tonumber(memory), attempt.after and 's' or 'r'
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

local function finish(report, entry)
  local token, given_id, outcome = report.token, report.id, report.outcome
  local id, cpu, memory, mark = entry_parse(entry or '')
  if not id then id, cpu, memory, mark = entry_by_attempt(given_id, token) end
  --@mark late_report
  if not id and not entry then return late(given_id, token) end
  if id ~= given_id then return 'stale' end -- a call sent again after a failover has given the token to another task
  local task = task_of_attempt(now, id, node.place, token, mark, outcome)
  local attempt = task.attempt
  local started = attempt and attempt.started or (not attempt and mark == 'r')
  if entry or is_taken(cpu, memory) then give_back(node, token, cpu, memory, started) end
  attempt_gone(node, token, task.request and task.request.preemptible)
  reservation_restored(node, token)
  if not attempt or attempt.token ~= token then return 'stale' end
  report.memory = memory
  if outcome ~= 'completed' then report.random = random end
  if report.ran and not attempt.started then report.started = whole(now - report.ran) end
  if report.output ~= '' then output_append(id, report.output) end
  end_safely(now, task, node_id, mark, outcome, report)
  return 'recorded'
end

local answers, orders = {}, {}
if #reports > 0 then
  local tokens, ids, seen = {}, {}, {}
  for i, report in ipairs(reports) do tokens[i], ids[i] = report.token, report.id end
  local entries = read('HMGET', node.path .. ':tasks', unpack(tokens))
  records_fetch(ids, 'attempt')
  for i, report in ipairs(reports) do
    answers[i] = finish(report, not seen[report.token] and entries[i] or nil)
    seen[report.token] = true
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
return { answers, orders }
