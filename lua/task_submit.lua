#!lua
--- task_submit: accept new tasks, and place them at once if there is room (none → pending | delayed; pending → assigned).
-- KEYS: prefix
-- ARGV: now_ms nonce limit watch *tasks
--   limit: placings at most; what is left is the schedulers'
--   each task: id, class, digest, and the lines of its request that it sets itself, ending with run=TARGET and
--   with=ARGUMENTS: these as they are, to the end
-- Replies: a list with one number a task: 1 new, 0 the same request is here already, -1 the id is another request's,
--   -2 it would be one label set too many in the queues: nothing of it was written
-- Refuses: counter_full; at full memory Redis itself (no allow-oom), before anything was written
-- Promises: repeated by a driver it changes nothing; work grows with the tasks given, not with those waiting
--@include _place
--@include _request

local FIRST, WIDTH = 5, 4

-- Each is looked at: what makes up most tasks, and what one has in common with those before it, is let pass by comparisons.
-- Their ids, and of those that aren't usual their lines by name.
local function tasks_given()
  local given, ids, digests, unusual, n = ARGV, {}, {}, {}, 0
  for at = FIRST, #given, WIDTH do
    local id, class, digest, text = given[at], given[at + 1], given[at + 2], given[at + 3]
    n = n + 1
    ids[n], digests[n] = id, digest
    if not were_given(class, text) or #digest > MOST_DIGEST or #id > MOST_ID then
      unusual[n] = request_given(id, class, digest, text)
    end
  end
  words_given(ids, '%w[%w._-]* ', function(id) id_given(id, 'task id') end)
  words_given(digests, '[^%c ]+ ', digest_given)
  return ids, unusual
end

arguments_given(FIRST - 1, WIDTH)
local now, nonce, limit = time_given(ARGV[1]), id_given(ARGV[2], 'nonce'), number_given(ARGV[3], 'limit', 0, MOST_BATCH)
local watch = ARGV[4] ~= '' and id_given(ARGV[4], 'channel') or ''
if wrong() then return wrong() end
local ids, unusual = tasks_given()
if wrong() then return wrong() end

local new = 0
local head = '\nat=' .. stamp(now) .. (watch ~= '' and '\nwatch=' .. watch or '') .. '\n'

local function accept(id, class, digest, text, request)
  local known = request_text(id)
  --@mark same_request
  if known then return has_digest(known, digest) and 0 or -1 end
  local priority, delay = request and request.priority or '0', request and request.delay or '0'
  if delay == '0' and not may_wait(class) then return -2 end
  local number = next_sequence()
  if request then
    request_begin(id, request, class, digest, now, watch)
    request.turn = number
    request_put(id, request)
  else
    request_put(id, 'class=' .. class .. '\nturn=' .. turn_short(number) .. '\ndigest=' .. digest .. head .. text)
  end
  new = new + 1
  event('submitted', id)
  if delay ~= '0' then return 1 end
  local score, member = score_of(tonumber(priority), now), number .. id
  if #ids > 1 or limit == 0 or not place_directly(now, nonce, class, score, member, request_text(id)) then
    queue_add(class, score, member)
  end
  return 1
end

if not sequences_take(#ids) then return sequences_used_up() end
records_fetch(ids, 'request')
local answers = {}
for i, id in ipairs(ids) do
  local at = FIRST + (i - 1) * WIDTH
  answers[i] = accept(id, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], unusual[i])
end
count('submitted', new)
sequences_back()
place_new(now, nonce, limit)
return answers
