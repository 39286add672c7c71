--@include _check
--@include _output
-- What an agent reports of the end of an attempt, as attempts.py writes it: checked like everything that is given.

local OUTCOMES = { completed = true, failed = true, crashed = true, returned = true, stopped = true }

-- A report by names. That its token and task are some is seen on the ledger.
local function report_given(head, value, output)
  local token, id, outcome, ran, rest = string.match(head, '^(%S+) (%S+) (%a+) (%S+)(.*)$')
  local reason, exit_code = '', ''
  if not token then
    complain('invalid_value', 'a report begins with TOKEN ID OUTCOME RAN, not ' .. shown(head))
  elseif outcome ~= 'completed' or rest ~= '' then
    choice_given(outcome, 'outcome', OUTCOMES)
    local said_reason, said_code = string.match(rest, '^ reason=(%S+)'), string.match(rest, ' exit_code=(%S+)$')
    if said_reason then reason = word_given(said_reason, 'reason', 128) end
    if said_code then
      number_given(said_code, 'exit code', -PY.MOST_PRIORITY, PY.MOST_PRIORITY)
      exit_code = said_code
    end
    local known = (said_reason and #said_reason + 8 or 0) + (said_code and #said_code + 11 or 0)
    if known ~= #rest then complain('invalid_value', 'a report may end with reason=WORD and exit_code=NUMBER, not with ' .. shown(rest)) end
  end
  if ran ~= '-' and (not find(ran or '', '^%d+$') or #ran > 12) then duration_given(ran, 'ran') end
  if #value > PY.MOST_PAYLOAD then bytes_given(value, 'the result or error', PY.MOST_PAYLOAD) end
  if #output > MOST_OUTPUT then bytes_given(output, 'the output', MOST_OUTPUT) end
  return { -- with all that comes to it: a table that grows is copied
    token = token, id = id, outcome = outcome, ran = ran ~= '-' and tonumber(ran) or nil, reason = reason, exit_code = exit_code,
    value = value, output = output, started = nil, memory = 0,
  }
end
