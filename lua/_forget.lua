--@include _events
-- Dropping ended tasks: the record and everything beside it.

local function forget(state, ids)
  if #ids == 0 then return end
  local keys = {}
  for _, id in ipairs(ids) do
    keys[#keys + 1] = P .. 'task:' .. id
    keys[#keys + 1] = P .. 'payload:' .. id
    keys[#keys + 1] = P .. 'result:' .. id
    keys[#keys + 1] = P .. 'log:' .. id
  end
  call('UNLINK', unpack(keys))
  call('ZREM', P .. 'finished:' .. state, unpack(ids))
  count('forgotten', #ids)
end
