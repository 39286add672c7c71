--@include _queue
-- The earliest pending task that fits into what is free: exact (promise 4), and without walking the tasks.
-- Groups are looked at in the order of their best heads; one whose bounds exclude it costs a comparison; in one that
-- fits only in part its classes are walked in head order. While one node is filled, what is free only shrinks, so
-- a class passed over once is never looked at again (group.cursor).

-- Objects are made only for what is chosen or must be walked: comparing numbers read from a member is all that most
-- groups and classes ever cost.

local BITE = 16
local group_list, group_list_all = {}, false -- groups in the order of their best heads, as far as loaded

-- A head as numbers: score, member, and the CPU, memory and labels of its class.
local function head_of(member, score)
  local cpu, memory, labels = string.match(member, '^(%d+):(%d+)(.*)$', SEQUENCE + 1)
  local head = {
    score = tonumber(score), member = member, cpu = tonumber(cpu), memory = tonumber(memory),
    class = nil, group = nil, cpu_above = nil, memory_above = nil, -- room for what is added later
  }
  if labels ~= '' then head.labels = labels end
  return head
end

local function head_class(head)
  local class = head.class
  if not class then
    class = class_of(string.sub(head.member, SEQUENCE + 1))
    head.class = class
  end
  return class
end

local function groups_load()
  local n = #group_list
  local bite = n == 0 and 4 or BITE
  local found = call('ZRANGE', P .. 'groups', whole(n), whole(n + bite - 1), 'WITHSCORES')
  for i = 1, #found, 2 do group_list[#group_list + 1] = head_of(found[i], found[i + 1]) end
  group_list_all = #group_list < n + bite
end

-- The group behind a head of `groups`, with what the index says of it.
local function head_group(head)
  local group = head.group
  if not group then
    group = head_class(head).group
    head.group = group
    group.known, group.old_score, group.old_best = true, head.score, head.member
  end
  return group
end

-- For the next node: everything may fit again.
local function first_fit_reset()
  for _, head in ipairs(group_list) do
    if head.group then head.group.cursor, head.group.head = 1, nil end
  end
end

-- The head at the group's cursor; nil: there are no more.
local function group_head(group)
  local head = group.head
  if head then return head end
  local heads = group.heads
  local at = 2 * group.cursor - 1
  if at > #heads then
    if group.all then return nil end
    local n = #heads / 2
    local found = call('ZRANGE', group.key, whole(n), whole(n + BITE - 1), 'WITHSCORES')
    for i = 1, #found do heads[2 * n + i] = found[i] end
    group.all = #found < 2 * BITE
    if #found == 0 then return nil end
  end
  head = head_of(heads[at], heads[at + 1])
  group.head = head
  return head
end

-- The first head of the group that fits, among classes that this script hasn't taken from, if it is earlier than the best
-- one so far.
local function group_untouched(group, cpu, memory, accept, best_score, best_member)
  while true do
    local head = group_head(group)
    if not head or (best_score and earlier(best_score, best_member, head.score, head.member)) then return nil end
    if head.cpu <= cpu and head.memory <= memory and not head_class(head).touched
      and (not accept or accept(head.score, head.member, head_class(head))) then
      return head
    end
    group.cursor, group.head = group.cursor + 1, nil
  end
end

-- The earliest task of the group that fits: score, member, class. None, where the best one so far is earlier.
local function group_fit(group, cpu, memory, accept, best_score, best_member)
  local score, member, class
  local head = group_untouched(group, cpu, memory, accept, best_score, best_member)
  if head then score, member, class = head.score, head.member, head_class(head) end
  for _, touched in ipairs(group.classes) do
    if touched.cpu <= cpu and touched.memory <= memory then
      local s, m = class_peek(touched)
      if s and (not score or earlier(s, m, score, member)) and (not accept or accept(s, m, touched)) then
        score, member, class = s, m, touched
      end
    end
  end
  return score, member, class
end

-- Whether the bounds of the head's group allow that something of it fits.
local function group_may_fit(head, cpu, memory)
  if not head.cpu_above then
    local _
    _, head.cpu_above = step(head.cpu)
    _, head.memory_above = step(head.memory)
  end
  return cpu > head.cpu_above and memory > head.memory_above
end

-- The class whose head is the earliest task that fits, or nil. `carries(labels)` tells whether what a group requires is
-- there (nil: no labels are). `accept(score, member, class)`, where given, must allow a head too; what it has refused it
-- must refuse until first_fit_reset().
local function first_fit(cpu, memory, carries, accept)
  local best_score, best_member, best, best_head
  if cpu < 1 or memory < 1 then return nil end
  local i = 1
  while true do
    if i > #group_list then
      if group_list_all then break end
      groups_load()
      if i > #group_list then break end
    end
    local head = group_list[i]
    local group = head.group
    local score, member, class
    if best_score and earlier(best_score, best_member, head.score, head.member) then break end
    if head.labels and not (carries and carries(head.labels)) then
      score = nil -- passed over: the whole group requires what isn't there
    elseif not group and not accept and head.cpu <= cpu and head.memory <= memory then
      score, member = head.score, head.member
    elseif group_may_fit(head, cpu, memory) then
      score, member, class = group_fit(head_group(head), cpu, memory, accept, best_score, best_member)
    end
    if score and (not best_score or earlier(score, member, best_score, best_member)) then
      best_score, best_member, best, best_head = score, member, class, head
    end
    i = i + 1
  end
  if best_score and not best then
    head_group(best_head)
    best = head_class(best_head)
  end
  return best
end
