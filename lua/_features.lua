--@include _check
-- Features: what processes know beyond the version of the format, and what of it is in use (settings: features). Written as
-- labels are: `+one+two` ('' none). What a process knows is the version and those: `1+one+two`. Whatever is in use every
-- process knows: it is used only when all do (feature_use), and from then on who doesn't know it isn't let in.

local SCHEDULER_TTL = 5000 -- ms without a sweep after which a scheduler counts as gone; each sweeps twice a second

local function is_known(known, feature)
  return string.find(known .. '+', '+' .. feature .. '+', 1, true) ~= nil
end

local in_use -- as this script has read it

local function features_in_use()
  in_use = in_use or setting('features') or ''
  return in_use
end

-- The refusal of a process that doesn't know something in use; nil: it knows all.
local function feature_missing(known)
  for feature in string.gmatch(features_in_use(), '%+([^+]+)') do
    if not is_known(known, feature) then
      return refuse('feature_missing', 'this process does not know ' .. legible(feature)
        .. ', which is in use in this namespace: install a newer rq-sched here')
    end
  end
end

-- A scheduler is there, and knows this.
local function scheduler_seen(now, name, known)
  local key = P .. 'schedulers'
  local gone = read('ZRANGEBYSCORE', key, '-inf', now)
  if gone.err then -- of another type: each enters itself again
    call('DEL', key)
  elseif #gone > 0 then
    call('ZREM', key, unpack(gone))
  end
  call('ZADD', key, now + SCHEDULER_TTL, name .. ' ' .. known)
end

-- Those that live, by name; nil: none does. `swept`: when a scheduler was last at work, be it one that has no name.
local function processes_alive(now, swept)
  local found = {}
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'nodes', '(' .. whole(now), '+inf')) do
    found[#found + 1] = 'the worker of node ' .. legible(id)
  end
  local named = call('ZRANGEBYSCORE', P .. 'schedulers', '(' .. whole(now), '+inf')
  for _, scheduler in ipairs(named) do found[#found + 1] = 'scheduler ' .. legible(string.match(scheduler, '^%S*')) end
  if #named == 0 and now - swept < SCHEDULER_TTL and now >= swept then found[#found + 1] = 'a scheduler' end
  if #found > 0 then return table.concat(found, ', ') end
end
