--@include _suspect
-- A node has refused a task: it may not run it, or hasn't got it (`not_allowed`, `not_found`). That is the answer of one
-- registration of one node. While there is another node that could hold the task and hasn't refused it, the task goes back
-- to its old place, and its class says where it may not be put any more (_labels). Only then it fails, or where too many
-- such classes wait (may_wait).

local LOOKED_AT = 256 -- nodes that may come back

-- Whether a node that hasn't refused could hold it: one that is up, or is draining or has a fault and may come back.
-- `otherwise`: what is said where there are more nodes than are looked at.
local function somebody_could(need, otherwise)
  if need.somebody ~= nil then return need.somebody end
  need.somebody = largest_node(need) ~= nil
  local number = call('ZCARD', P .. 'nodes')
  if need.somebody or number == call('ZCARD', P .. 'totals') then return need.somebody end
  if number > LOOKED_AT then need.somebody = otherwise end
  for _, id in ipairs(call('ZRANGE', P .. 'nodes', '0', whole(LOOKED_AT - 1))) do
    local node = node_load(id)
    if node and node.state ~= 'up' and node.total_cpu >= need.cpu and node.total_memory >= need.memory
      and could_carry(node, need.group.required) then
      need.somebody = true
      break
    end
  end
  return need.somebody
end

-- True: another node is to say. Else `report.value` is what all have said.
local function refused(task, node_id, report)
  local most, characters = 16, 300 -- refusals that are remembered, and what is kept of each
  local request, own = task.request, task.attempt.place
  local before = request.refusal
  local said = node_id .. ': ' .. string.sub(string.gsub(report.value, '%s+', ' '), 1, characters)
  if before then said = string.sub(before, 1, most * (characters + 130)) .. '\n' .. said end
  suspect_no_more(task)
  if not string.find(own, '^[%w._-]+:[%w._-]+$') or not class_of(request.class or '') then return false end
  local places = { own }
  for place, node, incarnation in string.gmatch(request.class, REFUSED) do -- those that are registered anew are asked again
    local known = node_load(node)
    if place ~= own and known and known.incarnation == incarnation then places[#places + 1] = place end
  end
  table.sort(places)
  local class = string.match(request.class, '^[^!]+') .. '!' .. table.concat(places, '!')
  --@mark all_have_refused
  if #places > most or not somebody_could(class_of(class), false) then
    if before then report.value = said end
    return false
  end
  if not may_wait(class) then
    report.value = said .. '\nno more nodes were asked: too many tasks that were refused, or require labels, wait already'
    return false
  end
  request.class, request.refusal = class, said
  return true
end
