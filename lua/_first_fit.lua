--@include _queue
-- The earliest pending task that fits into what is free: exact (promise 4), and without walking the tasks.
-- Groups are looked at in the order of their best heads; one whose bounds exclude it costs a comparison; in one that
-- fits only in part its classes are walked in head order. While one node is filled, what is free only shrinks, so
-- a class passed over once is never looked at again (group.cursor).

local BITE = 16
local group_list, group_list_all = {}, false -- groups in the order of their best heads, as far as loaded

local function groups_load()
  local n = #group_list
  local found = call('ZRANGE', P .. 'groups', n, n + BITE - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local class = class_of(string.sub(found[i], SEQUENCE + 1))
    local group = class.group
    group.known, group.old_score, group.old_best = true, tonumber(found[i + 1]), found[i]
    group_list[#group_list + 1] = group
  end
  group_list_all = #found < 2 * BITE
end

-- For the next node: everything may fit again.
local function first_fit_reset()
  for _, group in ipairs(group_list) do group.cursor = 1 end
end

-- The first class of the group, among those this script hasn't taken from, whose head fits.
local function group_untouched(group, cpu, memory)
  while true do
    if group.cursor > group.loaded then
      if group.all then return nil end
      local found = call('ZRANGE', group.key, group.loaded, group.loaded + BITE - 1, 'WITHSCORES')
      for i = 1, #found, 2 do
        group.heads[group.loaded + (i + 1) / 2] = { tonumber(found[i + 1]), found[i] }
      end
      group.loaded = group.loaded + #found / 2
      group.all = #found < 2 * BITE
      if #found == 0 then return nil end
    end
    local head = group.heads[group.cursor]
    local class = head[3]
    if not class then
      class = class_of(string.sub(head[2], SEQUENCE + 1))
      head[3] = class
    end
    if not class.touched and class.cpu <= cpu and class.memory <= memory then return head[1], head[2], class end
    group.cursor = group.cursor + 1
  end
end

-- The earliest task of the group that fits: score, member, class.
local function group_fit(group, cpu, memory)
  local score, member, class = group_untouched(group, cpu, memory)
  for _, touched in ipairs(group.classes) do
    if touched.cpu <= cpu and touched.memory <= memory then
      local s, m = class_peek(touched)
      if s and (not score or earlier(s, m, score, member)) then score, member, class = s, m, touched end
    end
  end
  return score, member, class
end

-- The class whose head is the earliest task that fits, or nil.
local function first_fit(cpu, memory)
  local best_score, best_member, best
  if cpu < 1 or memory < 1 then return nil end
  local i = 1
  while true do
    if i > #group_list then
      if group_list_all then break end
      groups_load()
      if i > #group_list then break end
    end
    local group = group_list[i]
    if best and earlier(best_score, best_member, group.old_score, group.old_best) then break end
    if cpu > group.cpu_above and memory > group.memory_above then
      local score, member, class = group_fit(group, cpu, memory)
      if score and (not best or earlier(score, member, best_score, best_member)) then
        best_score, best_member, best = score, member, class
      end
    end
    i = i + 1
  end
  return best
end
