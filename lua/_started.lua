--@include _ledger
--@include _record
-- Attempts run (assigned → running).

-- `starts`: of each its TOKEN, and where the agent says it `:MS` for how long it has run; with spaces between. What isn't on the
-- ledger as assigned is passed over, and what has ended in this call. Returns how many were recorded.
local function attempts_started(now, node, starts)
  local tokens, began, ids, over, n = {}, {}, {}, {}, 0
  for _, token in ipairs(node.cleared) do over[token] = true end
  for start in string.gmatch(starts, '%S+') do
    if #tokens == MOST_ITEMS then break end -- what a command takes
    local token, ran = string.match(start, '^([^:]*):?(.*)$')
    tokens[#tokens + 1], began[#began + 1] = token, math.max(0, now - (whole_of(ran) or 0))
  end
  local entries = #tokens > 0 and read('HMGET', node.ledger, unpack(tokens)) or {}
  for _, entry in ipairs(entries) do ids[#ids + 1] = entry_parse(entry or '') end
  records_fetch(ids, 'attempt')
  for i, token in ipairs(tokens) do
    local id, cpu, memory, mark, held = entry_parse(entries[i] or '')
    if mark == 'a' and not over[token] then
      over[token], n = true, n + 1
      entry_set(node, token, id, cpu .. ':' .. memory, 'r', held)
      attempt_change(id, { started = stamp(began[i]) })
      event('started', id, node.id)
    end
  end
  return n
end
