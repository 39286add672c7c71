--@include _fill
-- Reading a node's orders in full: what a start needs is in the task's record.

local function orders_read(node, limit, orders)
  for i, text in ipairs(read('LRANGE', node.path .. ':orders', node.trimmed, node.trimmed + limit - 1)) do
    local number, kind, token, id, amount = string.match(text, '^(%d+) (%a+) (%S+) (%S+) ?(%S*)$')
    number = whole_of(number)
    if not number then
      orders[#orders + 1] = { node.acked + i, 'void' } -- it says nothing: the ledger tells what was meant
    elseif kind ~= 'start' then -- stop with its grace, resize with the allocation, reload with nothing
      orders[#orders + 1] = { number, kind, token, id, amount }
    else
      local record = read('HMGET', P .. 'task:' .. id, unpack(ORDER_FIELDS))
      local current = unpack(record)
      if current == token then
        orders[#orders + 1] = start_order(number, token, id, record)
      else
        orders[#orders + 1] = { number, 'void' } -- overtaken: the attempt is over
      end
    end
  end
end
