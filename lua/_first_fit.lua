--@include _queue
-- The earliest pending task that fits into what is free: exact (promise 4), and without walking the tasks.
-- Groups are looked at in the order of their best heads; one whose bounds exclude it costs a comparison; in one that
-- fits only in part its classes are walked in head order. While one node is filled, what is free only shrinks, so
-- a class passed over once is never looked at again (group.cursor).

-- Objects are made only for what is chosen or must be walked: comparing numbers read from a member is all that most
-- groups and classes ever cost.

local BATCH = 16
local SCORED = 20 -- groups whose scores come with them; further ones are asked for theirs when it matters
-- Groups in the order of their best heads, as far as loaded: the head as it stands in the index, and what it says.
local group_scores, group_members, group_cpus, group_memories, group_labels = {}, {}, {}, {}, {}
-- heads: position → head object, made when something of the group may fit; skips: where a run of groups begins that require what
-- isn't there → its last one, as far as known; all: whether all groups are loaded.
local walk = { heads = {}, skips = {}, all = false }

-- A head as numbers: score, member, and the CPU and memory of its class.
local function head_of(member, score)
  local cpu, memory = string.match(member, '^(%d+):(%d+)', PY.SEQUENCE + 1)
  return {
    score = tonumber(score), member = member, cpu = tonumber(cpu), memory = tonumber(memory),
    class = nil, group = nil, -- room for what is added later
  }
end

local function head_class(head)
  local class = head.class
  if not class then
    class = class_of(string.sub(head.member, PY.SEQUENCE + 1))
    if not class then return nil end
    class.entry = head.member
    head.class = class
  end
  return class
end

local function group_add(member, score)
  local cpu, memory, labels = class_parse(member, PY.SEQUENCE + 1)
  if not cpu then return call('ZREM', P .. 'groups', member) end -- it says nothing
  local n = #group_members + 1
  group_members[n], group_cpus[n], group_memories[n] = member, cpu, memory
  if score then group_scores[n] = score + 0 end
  if labels ~= '' then group_labels[n] = labels end
end

local function groups_load()
  local n = #group_members
  local batch = n == 0 and 4 or math.min(4 * n, 4 * BATCH)
  local number
  if n < SCORED then
    local found = call('ZRANGE', P .. 'groups', whole(n), whole(n + batch - 1), 'WITHSCORES')
    for i = 1, #found, 2 do group_add(found[i], found[i + 1]) end
    number = #found / 2
  else
    local found = call('ZRANGE', P .. 'groups', whole(n), whole(n + batch - 1))
    for _, member in ipairs(found) do group_add(member) end
    number = #found
  end
  walk.all = number < batch
end

local function group_score(i)
  local score = group_scores[i]
  if not score then
    score = tonumber(call('ZSCORE', P .. 'groups', group_members[i]))
    group_scores[i] = score
  end
  return score
end

-- The head of the i-th group, with its group and what the index says of it.
local function group_best(i)
  local head = walk.heads[i]
  if not head then
    head = head_of(group_members[i], group_score(i))
    walk.heads[i] = head
    local group = head_class(head).group
    head.group = group
    group.known, group.old_score, group.old_best = true, head.score, head.member
  end
  return head
end

-- For the next node: everything may fit again.
local function first_fit_reset()
  for _, head in pairs(walk.heads) do head.group.cursor, head.group.head = 1, nil end
  if next(walk.skips) then walk.skips = {} end
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
    local from = n - group.strays
    local found = call('ZRANGE', group.key, whole(from), whole(from + BATCH - 1), 'WITHSCORES')
    for i = 1, #found do heads[2 * n + i] = found[i] end
    group.all = #found < 2 * BATCH
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
    --@mark memory_fits
    local class = not head.cpu or (head.cpu <= cpu and head.memory <= memory and head_class(head))
    if class == nil or class == true then
      call('ZREM', group.key, head.member) -- it says nothing: what is behind it in this page is seen all the same
      group.strays = group.strays + 1
    elseif class and not class.touched and (not accept or accept(head.score, head.member, class)) then
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

-- The class whose head is the earliest task that fits, or nil. `carries(labels)` tells whether what a group requires is
-- there (nil: no labels are). `accept(score, member, class)`, where given, must allow a head too. Both say the same until
-- first_fit_reset() of what isn't there, and what was refused.
local function first_fit(cpu, memory, carries, accept)
  local best_score, best_member, best, best_at, best_is_head
  if cpu < 1 or memory < 1 then return nil end
  local cpu_step, memory_step = step(cpu), memory < math.huge and step(memory) or memory
  local i, run, run_last = 1, nil, nil
  while true do
    while i > #group_members and not walk.all do groups_load() end
    if i > #group_members then break end
    local group_cpu, group_memory, labels = group_cpus[i], group_memories[i], group_labels[i]
    local score, member, class
    if best_score and (best_is_head or earlier(best_score, best_member, group_score(i), group_members[i])) then break end
    --@mark labels_of_group
    if labels and (walk.skips[i] or not (carries and carries(labels))) then
      -- Passed over: the whole group requires what isn't there. So does the run that begins here, once it is known.
      if run_last ~= i - 1 then run = i end
      i = walk.skips[i] or i
      walk.skips[run], run_last = i, i
    elseif not accept and group_cpu <= cpu and group_memory <= memory and not walk.heads[i] then
      score, member = group_score(i), group_members[i]
    elseif group_cpu <= cpu_step and group_memory <= memory_step then -- others of the group may need less than its head
      score, member, class = group_fit(group_best(i).group, cpu, memory, accept, best_score, best_member)
    end
    if score and (not best_score or earlier(score, member, best_score, best_member)) then
      best_score, best_member, best, best_at, best_is_head = score, member, class, i, not class
    end
    i = i + 1
  end
  if best_is_head then best = head_class(group_best(best_at)) end
  return best
end

-- Whether nothing waits but tasks of this class, which first_fit() has found.
local function is_alone(class)
  local group = class.group
  if not walk.all or #group_members > 1 then return false end
  if not group.all and #group.heads == 0 then group_head(group) end
  return group.all and #group.heads <= 2
end
