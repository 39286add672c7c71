--@include _ledger
--@include _record
-- Reading a node's orders in full, as the agent gets them (order_records.py reads them): what a start needs is the number
-- of the attempt and, in a line of its own, the request as it stands.

local function orders_read(node, limit, orders)
  local left = node.ordered_before - node.acked -- they stand at the end; before them some that are acknowledged
  if left <= 0 then return end
  local texts, ids = read('LRANGE', node.path .. ':orders', whole(-left), whole(math.min(limit - left, 0) - 1)), {}
  for _, text in ipairs(texts) do ids[#ids + 1] = string.match(text, '^%d+ start %S+ (%S+)') end
  records_fetch(ids, 'attempt')
  records_fetch(ids, 'request')
  for i, text in ipairs(texts) do
    local number, kind, token, id, amounts = string.match(text, '^(%d+) (%a+) (%S+) (%S+)( ?%S*)$')
    local attempt = kind == 'start' and attempt_of(id)
    if not whole_of(number) then
      orders[#orders + 1] = whole(node.acked + i) .. ' void' -- it says nothing: the ledger tells what was meant
    elseif kind ~= 'start' then -- stop with its grace, resize with the allocation, reload with nothing
      orders[#orders + 1] = text
    elseif attempt and attempt.token == token then
      orders[#orders + 1] = string.sub(text, 1, -1 - #amounts) .. ' ' .. attempt.number .. amounts .. '\n' .. (request_text(id) or '')
    else
      orders[#orders + 1] = number .. ' void' -- overtaken: the attempt is over
    end
  end
end
