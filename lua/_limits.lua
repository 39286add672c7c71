--@include _check
--@include _required
-- Limits that hold across nodes: how much of each is in use by attempts that stand on a ledger. A limit is taken by the script
-- that places, all or nothing with the room of the node, and given back by each script that takes an entry from a ledger, as
-- the entry says. `limits`: name → most, or `off`; `limits_used`: name → in use; `limits_kept`: name → which waiting task is
-- the first that asks for it, since when, and whether the limit's room is kept for it (_kept).

local HELD = '@([^@=;]+)=(%d+)' -- in the entry of a ledger
local OFF = PY.EXACT
local limits_seen = {} -- name → what is known of it
local wider = {}       -- names of those that may have more room than before, beside those of which less is in use

-- KIND SINCE SCORE ENTRY: of a waiting task that is the first (`first`), or for which room is kept (`kept`); entry: as in the
-- indexes of heads. Nil: it says nothing.
local function kept_parse(text, name)
  local kind, since, score, entry = string.match(text or '', '^(%l+) (%d+) (%S+) (%x+:?.*)$')
  local _, _, _, digits = string.find(entry or '', '(@' .. string.gsub(name, '%-', '%%-') .. '=)(%d+)')
  since, score = whole_of(since), tonumber(score or '')
  if not since or not score or not digits then return nil end
  return { kind = kind, since = since, score = score, entry = entry, number = tonumber(digits) }
end

-- The task for which room is kept, if it still waits. (What follows from its leaving is `reserve`'s.)
local function kept_read(name)
  local first = kept_parse(field_of(P .. 'limits_kept', name), name)
  if not first or first.kind ~= 'kept' then return nil end
  local score = read('ZSCORE', P .. 'limited:' .. name, first.entry)
  return type(score) == 'string' and first or nil
end

-- What is known of a limit. One that was never set has no room: who asks for it waits until it is.
local function limit_load(name)
  local limit = limits_seen[name]
  if limit then return limit end
  local most, used = field_of(P .. 'limits', name), whole_of(field_of(P .. 'limits_used', name)) or 0
  limit = {
    name = name, most = most == 'off' and OFF or whole_of(most) or -1, used = used, before = used,
    kept = kept_read(name),
  }
  limits_seen[name] = limit
  return limit
end

-- The first of these, a list of { name, number }, that hasn't so much room; nil: all have.
local function limit_full(list)
  for _, one in ipairs(list) do
    local limit = limit_load(one.name)
    --@mark limit_room
    if limit.used + one.number > limit.most then return limit end
  end
end

-- The first of these whose room is kept for a task that is earlier than this one; nil: none is.
local function limit_kept(list, score, member)
  for _, one in ipairs(list) do
    local limit = limit_load(one.name)
    local kept = limit.kept
    if kept and limit.used + one.number + kept.number > limit.most then
      local own, its = string.sub(member, 1, PY.SEQUENCE), string.sub(kept.entry, 1, PY.SEQUENCE)
      --@mark limit_kept
      if score > kept.score or (score == kept.score and own > its) then return limit end
    end
  end
end

-- The limit that doesn't let a task have these; nil: all do. `member`: its entry in its queue, or in an index of heads.
local function limit_blocking(list, score, member)
  return limit_full(list) or limit_kept(list, score, member)
end

-- `member`: of the task that takes it; nil: it didn't wait.
local function limits_take(list, member)
  for _, one in ipairs(list) do
    local limit = limit_load(one.name)
    local kept = limit.kept
    if kept and member and string.sub(member, 1, PY.SEQUENCE) == string.sub(kept.entry, 1, PY.SEQUENCE) then limit.kept = nil end
    --@mark limit_taken
    limit.used = limit.used + one.number
  end
end

-- What an entry of a ledger holds of limits is free again.
local function limits_give(held)
  for name, digits in string.gmatch(held, HELD) do
    local limit = limit_load(name)
    --@mark limit_given_back
    limit.used = math.max(0, limit.used - tonumber(digits))
  end
end

-- As they stand in the entry of a ledger.
local function limits_held(list)
  local texts = {}
  for i, one in ipairs(list) do texts[i] = '@' .. one.name .. '=' .. whole(one.number) end
  return table.concat(texts, ';')
end

local function is_limit_name(text)
  return #text <= PY.MOST_NAME_OF_AMOUNT and find(text, '^%l[%l%d_-]*$') ~= nil
end

-- As users give it.
local function limit_name_given(text)
  if text and is_limit_name(text) then return text end
  complain('invalid_value', 'bad name of a limit ' .. shown(text or '') .. ": use 1 to 32 of a-z, 0-9, '_' and '-', beginning with a letter")
  return 'x'
end

-- Something has changed for it: who waits for it is to be looked at.
local function limit_wider(name)
  wider[name] = true
end

-- Writes what is in use. The names of those that have more room than before.
local function limits_flush()
  local names = {}
  for name, limit in pairs(limits_seen) do
    if limit.used < limit.before then wider[name] = true end
    if limit.used > 0 and limit.used ~= limit.before then
      hash_set(P .. 'limits_used', name, whole(limit.used))
    elseif limit.used ~= limit.before then
      read('HDEL', P .. 'limits_used', name)
    end
    limit.before = limit.used
  end
  for name in pairs(wider) do names[#names + 1] = name end
  table.sort(names)
  wider = {}
  return names
end
