--@include _check
-- Features: what processes know beyond the version of the format, and what of it is in use (settings: features). Written as
-- labels are: `+one+two` ('' none). What a process knows is the version and those: `1+one+two`. Whatever is in use every
-- process knows: it is used only when all do (feature_use), and from then on who doesn't know it isn't let in.

local SCHEDULER_TTL = 5000 -- ms without a sweep after which a scheduler counts as gone; each sweeps twice a second

local function is_known(known, feature)
  return string.find(known .. '+', '+' .. feature .. '+', 1, true) ~= nil
end

local function features_in_use()
  return setting('features') or ''
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
