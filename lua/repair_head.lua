#!lua flags=allow-oom
--- repair_head: put the heads of classes into the index of their group, and the group's best head into the index of all.
-- KEYS: prefix
-- ARGV: now_ms group *entries
--   each: a class, or an entry of the group's index or of `groups` that may be wrong (sequence + class)
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: a head that is in order isn't touched; what becomes visible is offered to the schedulers
--@include _queue
--@include _repair

arguments_given(2, 1)
local name = found_given(ARGV[2], 'group')
if wrong() then return wrong() end
local index = P .. 'classes:' .. name

-- The class of an entry of the group's index or of `groups`; nil: it has no sequence.
local function class_in(entry)
  if string.find(string.sub(entry, 1, PY.SEQUENCE), '%X') then return nil end
  return string.match(entry, '^%d+:%d+.*$', PY.SEQUENCE + 1)
end

local function head_of(class)
  local cpu, memory, labels = string.match(class, '^(%d+):(%d+)(.*)$')
  if not cpu or step(tonumber(cpu)) .. ':' .. step(tonumber(memory)) .. labels ~= name then return nil end
  local score, member = first_of(P .. 'pending:' .. class)
  return score, member and string.sub(member, 1, PY.SEQUENCE) .. class
end

for i = 3, #ARGV do
  local entry = ARGV[i]
  local class = class_in(entry)
  local plain = not class
  class = class or entry
  local score, head = head_of(class)
  if not plain and entry ~= head and call('ZREM', index, entry) == 1 then did('head dropped') end
  if head then head_set(index, score, head) end
end

local best_score, best = first_of(index)
for i = 3, #ARGV do
  if ARGV[i] ~= best and class_in(ARGV[i]) then
    local cpu, memory, labels = string.match(string.sub(ARGV[i], PY.SEQUENCE + 1), '^(%d+):(%d+)(.*)$')
    local own = step(tonumber(cpu)) .. ':' .. step(tonumber(memory)) .. labels == name
    if own and call('ZREM', P .. 'groups', ARGV[i]) == 1 then did('best head dropped') end
  end
end
if best and tonumber(call('ZSCORE', P .. 'groups', best) or nil) ~= best_score then
  call('ZADD', P .. 'groups', best_score, best)
  wake()
  did('best head entered')
end
return repaired()
