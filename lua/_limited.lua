--@include _queue
--@include _limits
-- Who waits for a limit: the heads of all classes that ask for it stand in `limited:NAME`, in the order of promise 4. When it
-- has more room, the first of them that may have it goes into `fresh`; when that one leaves `fresh`, for whatever reason, the
-- next behind it comes, and so on while there is room. So each is looked at once, and no script looks at many.

local BITE = 32 -- entries that are looked at in one call for each limit

-- From this place on in the order. False: there is nobody.
local function limited_from(name, rank)
  local limit = limit_load(name)
  if limit.used >= limit.most then return false end
  local key = P .. 'limited:' .. name
  local found = read('ZRANGE', key, whole(rank), whole(rank + BITE - 1), 'WITHSCORES')
  for i = 1, #found, 2 do
    local need, score = need_of(string.sub(found[i], PY.SEQUENCE + 1)), found[i + 1]
    local last = i == 2 * BITE - 1 -- whatever it is: it leads on
    if need and need.limits and (last or not limit_blocking(need.limits, tonumber(score), found[i])) then
      call('ZADD', P .. 'fresh', score, found[i])
      return true
    end
  end
  return false
end

-- An entry that isn't the head of its class (somebody has put something before it) would lead to it again and again.
-- `head`: the right one; nil: the class is empty.
local function limited_correct(list, entry, score, head)
  for _, one in ipairs(list) do
    local key = P .. 'limited:' .. one.name
    if head ~= entry and read('ZREM', key, entry) == 1 and head then call('ZADD', key, score, head) end
  end
end

-- A class that asks for these has left its place in `fresh`: who is behind it comes.
local function limited_behind(list, score, entry)
  for _, one in ipairs(list) do
    local limit = limit_load(one.name)
    if limit.used < limit.most then
      local key = P .. 'limited:' .. one.name
      local rank = read('ZRANK', key, entry)
      if type(rank) == 'number' then
        limited_from(one.name, rank + 1)
      elseif rank == false then
        call('ZADD', key, score, entry)
        rank = call('ZRANK', key, entry)
        call('ZREM', key, entry)
        limited_from(one.name, rank)
      end
    end
  end
end

-- Before the script replies: who waits for limits that have more room now.
local function limits_wake()
  local some = false
  for _, name in ipairs(limits_flush()) do
    --@mark limit_wakes
    if limited_from(name, 0) then some = true end
  end
  if some then wake() end
end
