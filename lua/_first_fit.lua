--@include _queue
-- The earliest pending task that fits into what is free: exact (promise 4), and without walking the tasks.
-- Groups are looked at in the order of their best heads; one whose bounds exclude it costs a comparison; in one that
-- fits only in part its classes are walked in head order. While one node is filled, what is free only shrinks, so
-- a class passed over once is never looked at again (group.cursor).

-- Objects are made only for what is chosen or must be walked: comparing what a class needs is all that most groups and
-- classes ever cost. Classes from which this script has taken something stand apart (_queue: `moved`).

local BATCH = 16
local SCORED = 20 -- groups whose scores come with them; further ones are asked for theirs when it matters
-- Groups in the order of their best heads, as far as loaded: the head as it stands in the index, and what its class needs.
local group_members, group_needs = {}, {}
local group_scores, score_texts = {}, {} -- numbers, where one was asked for; what came with the members
local EMPTY = { cpu = PY.EXACT, memory = PY.EXACT, required = '' } -- of a group of which nothing is left
-- heads: position → head object, made when something of the group may fit; skips: where a run of groups begins that require what
-- isn't there → its last one, as far as known; all: whether all groups are loaded.
local walk = { heads = {}, skips = {}, all = false }

local sub = string.sub

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
    class = class_of(sub(head.member, PY.SEQUENCE + 1))
    if not class then return nil end
    class.entry = head.member
    head.class = class
  end
  return class
end

local function groups_load()
  local members, needs, kept = group_members, group_needs, needs_kept()
  local n = #members
  local batch = n == 0 and 4 or math.min(4 * n, 4 * BATCH)
  local first, last, width = whole(n), whole(n + batch - 1), n < SCORED and 2 or 1
  local found = width == 2 and call('ZRANGE', P .. 'groups', first, last, 'WITHSCORES') or call('ZRANGE', P .. 'groups', first, last)
  for i = 1, #found, width do
    local member = found[i]
    local name = sub(member, PY.SEQUENCE + 1)
    local need = kept[name] or need_of(name)
    if need then
      n = n + 1
      members[n], needs[n] = member, need
      if width == 2 then score_texts[n] = found[i + 1] end
    else
      call('ZREM', P .. 'groups', member) -- it says nothing
    end
  end
  walk.all = #found < width * batch
end

local function group_score(i)
  local score = group_scores[i]
  if not score then
    score = tonumber(score_texts[i] or call('ZSCORE', P .. 'groups', group_members[i]))
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
    local from, batch = n - group.strays, n == 0 and 4 or BATCH
    local found = call('ZRANGE', group.key, whole(from), whole(from + batch - 1), 'WITHSCORES')
    for i = 1, #found do heads[2 * n + i] = found[i] end
    group.all = #found < 2 * batch
    if #found == 0 then return nil end
  end
  head = head_of(heads[at], heads[at + 1])
  group.head = head
  return head
end

-- The first head of the group that fits, among classes from which this script has taken nothing, if it is earlier than the
-- best one so far.
local function group_fit(group, cpu, memory, accept, best_score, best_member)
  while true do
    local head = group_head(group)
    if not head or (best_score and earlier(best_score, best_member, head.score, head.member)) then return nil end
    --@mark memory_fits
    local class = not head.cpu or (head.cpu <= cpu and head.memory <= memory and head_class(head))
    if class == nil or class == true then
      call('ZREM', group.key, head.member) -- it says nothing: what is behind it in this page is seen all the same
      group.strays = group.strays + 1
    elseif class and not class.moved and (not accept or accept(head.score, head.member, class))
      and not (class.limits and limit_kept(class.limits, head.score, head.member)) then
      return head
    end
    group.cursor, group.head = group.cursor + 1, nil
  end
end

-- The class whose head is the earliest task that fits, or nil. `carries(required)` tells whether what a group requires is
-- there (nil: no labels are). `accept(score, member, class)`, where given, must allow a head too. Both say the same until
-- first_fit_reset() of what isn't there, and what was refused.
local function first_fit(cpu, memory, carries, accept)
  if cpu < 0 or memory < 1 then return nil end
  local best = first_moved(cpu, memory, carries, accept)
  local best_score, best_member
  if best then best_score, best_member = class_peek(best) end
  local cpu_step, memory_step = step(cpu), memory < math.huge and step(memory) or memory
  local i, run, run_last = 1, nil, nil
  while true do
    local need = group_needs[i]
    if not need then
      if walk.all then return best end
      groups_load()
    elseif best and earlier(best_score, best_member, group_score(i), group_members[i]) then
      return best
    --@mark labels_of_group
    elseif need.required ~= '' and (walk.skips[i] or not (carries and carries(need.required)) or (need.limits and limit_full(need.limits))) then
      -- Passed over: the whole group requires what isn't there. So does the run that begins here, once it is known.
      if run_last ~= i - 1 then run = i end
      i = walk.skips[i] or i
      walk.skips[run], run_last = i, i
      i = i + 1
    else
      if need.cpu <= cpu_step and need.memory <= memory_step then -- others of the group may need less than its head
        local fits = not accept and not need.limits and need.cpu <= cpu and need.memory <= memory and not walk.heads[i]
        local head = group_best(i)
        local group = head.group
        if fits and not head_class(head).moved then return head_class(head) end
        local found = group_fit(group, cpu, memory, accept, best_score, best_member)
        if found then
          best, best_score, best_member = head_class(found), found.score, found.member
        elseif group.all and #group.heads == 2 and head_class(head).moved then
          group_needs[i] = EMPTY
        end
      end
      i = i + 1
    end
  end
end

-- Whether nothing waits but tasks of this class, which first_fit() has found.
local function is_alone(class)
  local group = class.group
  if not walk.all or #group_members > 1 then return false end
  if not group.all and #group.heads == 0 then group_head(group) end
  return group.all and #group.heads <= 2
end
