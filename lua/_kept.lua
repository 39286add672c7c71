--@include _blocked
--@include _limited
-- Against starvation at a limit: when a task has been the first that asks for it for `reserve_after`, its room is kept (hash
-- `limits_kept`): of tasks that are later, only those may have some that leave it what it needs.

local KEPT_KEY = P .. 'limits_kept'
local NAMES = 16 -- limits that are looked at in one call; where there are more, at random
local FIRST = 8  -- tasks that are looked at of each

-- The first entry of those that ask for a limit that could be placed some day, its score as text, and its class.
local function first_asking(limit)
  local found = read('ZRANGE', P .. 'limited:' .. limit.name, '0', whole(FIRST - 1), 'WITHSCORES')
  for i = 1, #found, 2 do
    local class = class_of(string.sub(found[i], PY.SEQUENCE + 1))
    local possible = class ~= nil
    for _, one in ipairs(class and class.limits or {}) do possible = possible and one.number <= limit_load(one.name).most end
    if possible and feasible(class, false) then return found[i], found[i + 1], class end
  end
end

-- Since when it is the first, and whether room is kept for it: an earlier one takes over what was kept.
local function standing_of(now, known, entry, score, reserve_after)
  if not known or known.since > now then return 'first', now end
  local mine = known.entry == entry
  if known.kind == 'kept' and (mine or earlier(tonumber(score), entry, known.score, known.entry)) then return 'kept', known.since end
  local since = mine and known.since or now
  return now - since >= reserve_after and 'kept' or 'first', since
end

-- `reserve_after` in ms; nil: it is off.
local function limits_keep(now, reserve_after)
  local names = read('HRANDFIELD', P .. 'limits', NAMES)
  if type(names) ~= 'table' or names.err then return end
  for _, name in ipairs(names) do
    local limit, text = limit_load(name), field_of(KEPT_KEY, name)
    local known = kept_parse(text, name)
    local entry, score, class
    if reserve_after and limit.most < OFF then entry, score, class = first_asking(limit) end
    if entry then
      local kind, since = standing_of(now, known, entry, score, reserve_after)
      local new = kind .. ' ' .. whole(since) .. ' ' .. score .. ' ' .. entry
      if new ~= text then
        hash_set(KEPT_KEY, name, new)
        if known and known.kind == 'kept' then limit_wider(name) end
        local _, member = class_peek(class)
        if kind == 'kept' and member then event('limit_kept', string.sub(member, PY.SEQUENCE + 1), nil, nil, name) end
      end
    elseif text then
      read('HDEL', KEPT_KEY, name)
      limit_wider(name)
    end
  end
end
