-- What a task requires beside CPU and memory, as it stands behind these in the name of its class, each part sorted by name:
--   +ssd            labels that its node carries
--   *gpu=2000       amounts of resources that its node has, in thousandths: whole ones, or less than one
--   @api=2          how much it takes of limits that hold across nodes
--   !n1:5f!n3:a0    registrations that have refused it (_refused)
-- All of it together says in which group a class is, and what is required there.

local AMOUNT, LIMIT = '%*([^*@!=]+)=(%d+)', '@([^@!=]+)=(%d+)'
local REFUSED = '!(([^!:]+):([^!]+))'
local REQUIRED = '^([^*@!]*)([^@!]*)([^!]*)(.*)$' -- labels, amounts, limits, refusals: each may be empty

-- The names and numbers of `form`, each name once: a list of { name, number }; nil: it says something else.
local function numbers_parse(text, form, most)
  local list, known, length = {}, {}, 0
  for name, digits in string.gmatch(text, form) do
    local number = tonumber(digits)
    local sound = string.find(name, '^%l[%l%d_-]*$') and #name <= PY.MOST_NAME_OF_AMOUNT and string.byte(digits) ~= 48 and number <= most
    if not sound or known[name] or #list == PY.MOST_AMOUNTS then return nil end
    known[name], length = true, length + 2 + #name + #digits
    list[#list + 1] = { name = name, number = number }
  end
  return length == #text and list or nil
end

-- Amounts of resources, `*gpu=2000…`; nil: it says something else.
local function amounts_parse(text)
  local list = numbers_parse(text, AMOUNT, PY.MOST_AMOUNT)
  for _, one in ipairs(list or {}) do
    if one.number > 1000 and one.number % 1000 > 0 then return nil end
  end
  return list
end

-- What is taken of limits, `@api=2…`; nil: it says something else.
local function limits_parse(text)
  return numbers_parse(text, LIMIT, PY.MOST_LIMIT)
end
