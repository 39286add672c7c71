#!lua flags=allow-oom
--- repair_limit: put right how much of a limit is in use, what it is, and who stands in the index of those that ask for it.
-- KEYS: prefix
-- ARGV: now_ms name *entries
--   entries: those of its index that may be wrong (sequence + class), and classes whose heads may be missing there
-- Replies: what was done, in words ('' nothing)
-- Refuses: nothing
-- Promises: what is in use is what all ledgers hold, read in this call: it grows with all that runs, and only repairs pay it;
--   a limit that can't be read becomes 0 until somebody sets it; who asks for it is looked at again
--@include _limited
--@include _repair

arguments_given(2, 1)
local now, name = time_given(ARGV[1]), found_given(ARGV[2], 'name')
if wrong() then return wrong() end

-- What the ledgers hold of it: those of all registrations that are known, and of those that are being given back.
local function held_in_all()
  local places, sum = {}, 0
  for _, id in ipairs(call('ZRANGE', P .. 'nodes', '0', '-1')) do
    local incarnation = field_of(P .. 'node:' .. id, 'incarnation')
    if incarnation then places[id .. ':' .. incarnation] = true end
  end
  for _, lost in ipairs(call('SMEMBERS', P .. 'lost')) do places[string.match(lost, '^(.*):%l+$') or lost] = true end
  for place in pairs(places) do
    for _, entry in ipairs(read('HVALS', P .. 'node:' .. place .. ':tasks')) do
      local id, _, _, _, held = entry_parse(entry)
      for one, digits in string.gmatch(id and held or '', '@([^@=;]+)=(%d+)') do
        if one == name then sum = sum + tonumber(digits) end
      end
    end
  end
  return sum
end

local function number_repair()
  local used, right = field_of(P .. 'limits_used', name), held_in_all()
  if (used and whole_of(used) or 0) == right and (not used or right > 0) then return end
  if right > 0 then hash_set(P .. 'limits_used', name, whole(right)) else read('HDEL', P .. 'limits_used', name) end
  did('in use ' .. legible(used or '0') .. ' -> ' .. whole(right))
  limit_wider(name)
end

local function limit_repair()
  local most = field_of(P .. 'limits', name)
  if most and most ~= 'off' and not whole_of(most) then
    hash_set(P .. 'limits', name, '0')
    did('it was ' .. legible(most) .. ', and is 0: set it')
  end
  local kept = field_of(P .. 'limits_kept', name)
  if kept and not kept_parse(kept, name) then
    read('HDEL', P .. 'limits_kept', name)
    did('what was kept of it said nothing: dropped')
    limit_wider(name)
  end
end

local function entry_repair(entry)
  local index = P .. 'limited:' .. name
  local plain = string.find(string.sub(entry, 1, PY.SEQUENCE), ':', 1, true) -- a sequence has none
  local class, asks = class_of(plain and entry or string.sub(entry, PY.SEQUENCE + 1)), false
  for _, one in ipairs(class and class.limits or {}) do asks = asks or one.name == name end
  local score, member
  if asks then score, member = first_of(class.key) end
  local head = member and head_of_queue(member, class)
  if entry ~= head and read('ZREM', index, entry) == 1 then did('an entry of limited:' .. legible(name) .. ' dropped') end
  if head then head_set(index, score, head) end
end

local function name_repair()
  for _, key in ipairs({ 'limits', 'limits_used', 'limits_kept' }) do
    if read('HDEL', P .. key, name) == 1 then did(key .. ': a name that is none dropped') end
  end
end

if not is_limit_name(name) then
  name_repair()
  return repaired(now)
end
number_repair()
limit_repair()
for i = 3, #ARGV do entry_repair(found_given(ARGV[i], 'entry')) end
return repaired(now)
