#!lua flags=allow-oom
--- feature_use: from now on a feature is in use, if every process that lives knows it.
-- KEYS: prefix
-- ARGV: now_ms feature
--   feature: its name, as a label's
-- Replies: 1 from now on, 0 it was already
-- Refuses: feature_missing, with the name of a process that doesn't know it; also where none lives: else whoever may submit
--   could keep all processes out by a name that none knows
-- Promises: what is in use every scheduler and worker knows: who comes later without is refused (node_register, node_sweep)
--@include _features

arguments_given(2)
local now, feature = time_given(ARGV[1]), labels_given('+' .. (ARGV[2] or ''))
if wrong() then return wrong() end
local name = string.sub(feature, 2)

-- Who doesn't know it, and how many live.
local function lacking()
  local alive = 0
  for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'nodes', '(' .. whole(now), '+inf')) do
    if not is_known(field_of(P .. 'node:' .. id, 'knows') or '', name) then return 'the worker of node ' .. legible(id), 1 end
    alive = alive + 1
  end
  for _, scheduler in ipairs(call('ZRANGEBYSCORE', P .. 'schedulers', '(' .. whole(now), '+inf')) do
    local who, known = string.match(scheduler, '^(%S+) (%S+)$')
    if who and not is_known(known, name) then return 'scheduler ' .. legible(who), 1 end
    alive = alive + 1
  end
  return nil, alive
end

if is_known(features_in_use(), name) then return 0 end
local who, alive = lacking()
if alive == 0 then
  return refuse('feature_missing', 'no worker or scheduler is here that knows ' .. name .. ': start one first')
elseif who then
  return refuse('feature_missing', who .. ' does not know ' .. name .. ': stop it, or start it anew with a newer rq-sched')
end
schema_say()
call('HSET', P .. 'settings', 'features', features_in_use() .. feature)
return 1
