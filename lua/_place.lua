--@include _choose
--@include _limited
--@include _commit
-- Finding nodes for pending tasks, the earliest first: those that stand in `fresh`, and nodes that stand in `dirty`.

local FRESH, DIRTY = P .. 'fresh', P .. 'dirty'
local placed_so_far, lookups_so_far = 0, 0 -- by this script; both are bounded by the limit
local stuck = false -- at what is damaged: nobody gets on there before it is mended

-- Nodes that came with room: joined, undrained, or left half filled.
local function place_dirty(now, nonce, limit)
  while placed_so_far < limit and lookups_so_far < limit do
    local id = unpack(call('ZRANGE', DIRTY, 0, 0))
    if not id then return end
    lookups_so_far = lookups_so_far + 1
    call('ZREM', DIRTY, id)
    local node = node_load(id)
    if node then
      local n, undone, damaged = fill_safely(now, nonce, node, limit - placed_so_far)
      placed_so_far, stuck = placed_so_far + n, stuck or damaged
      node_index(node)
      if undone then lookups_so_far = limit end
    end
  end
end

local function carries_all(node, class)
  return class.group.required == '' or carrier(node)(class.group.required)
end

-- The reserved node isn't in `free`: it comes last, for those who may use it.
local function choose_node(now, class)
  local node, alone = node_with_room(now, class)
  if node or not reservation() then return node, alone end
  node = node_load(reservation().node)
  local fits = node and node.state == 'up' and class.cpu <= room_cpu(node) and class.memory <= node.memory
  if fits and carries_all(node, class) then
    local score, member = class_peek(class)
    if may_use(now, score, member, class) then return node end
  end
end

-- An entry that was looked at leaves `fresh`, and what follows from that: whoever waits for the same limits comes.
local function leave_fresh(entry, score, class)
  call('ZREM', FRESH, entry)
  if class and class.limits then limited_behind(class.limits, score, entry) end
end

-- The earliest fresh class: its entry as written with its score, and its object. Entries of emptied classes go; one that is
-- earlier than its class's head is put where the head is.
local function freshest(limit)
  while lookups_so_far < limit do
    local entry, entry_score = unpack(call('ZRANGE', FRESH, 0, 0, 'WITHSCORES'))
    if not entry then return nil end
    local class = class_of(string.sub(entry, PY.SEQUENCE + 1))
    local score, member
    if class then score, member = class_peek(class) end
    if score == tonumber(entry_score) and head_of_queue(member, class) == entry then
      return class, entry, score
    end
    leave_fresh(entry, entry_score, class)
    local head = score and head_of_queue(member, class)
    if head then call('ZADD', FRESH, score, head) end
    if class and class.limits then limited_correct(class.limits, entry, score, head) end
    lookups_so_far = lookups_so_far + 1
  end
end

-- The class's entry follows its head; whoever comes next in order is then at the front.
local function follow(class, entry, entry_score)
  leave_fresh(entry, entry_score, class)
  local score, member = class_peek(class)
  if score then call('ZADD', FRESH, score, head_of_queue(member, class)) end
end

-- Puts tasks of the class on the node until an earlier one waits in another class of `fresh`. (`until_member` may be
-- an old entry with the sequence of a task that has changed its class since: equal is not earlier.)
local function run_of(now, nonce, limit, class, node, until_score, until_member)
  local until_sequence = until_member and string.sub(until_member, 1, PY.SEQUENCE)
  while placed_so_far < limit and class.cpu <= room_cpu(node) and class.memory <= node.memory and has_amounts(node, class.need.amounts) do
    local score, member, array = class_peek(class)
    if not score then break end
    if until_score and earlier(until_score, until_sequence, score, string.sub(member, 1, PY.SEQUENCE)) then break end
    if node.reserved and reservation() and not may_use(now, score, member, class) then break end
    if class.limits and limit_blocking(class.limits, score, member) then break end
    local done = assign(now, nonce, node, class, nil, score, member, array)
    if done == nil then break end
    if done then placed_so_far = placed_so_far + 1 else lookups_so_far = lookups_so_far + 1 end
    if lookups_so_far >= limit then break end
  end
  node_index(node)
end

-- False: there are none.
local function place_class(now, nonce, limit)
  local class, entry, score = freshest(limit)
  if not class then return false end
  local node, alone
  if not (class.limits and limit_blocking(class.limits, score, entry)) then node, alone = choose_node(now, class) end
  lookups_so_far = lookups_so_far + 1 + batches_taken()
  if node then
    local second, second_score = unpack(call('ZRANGE', FRESH, 1, 1, 'WITHSCORES'))
    alone = alone or class.limits -- who waits for the same limits comes into `fresh` when this entry leaves it
    run_of(now, nonce, alone and placed_so_far + 1 or limit, class, node, tonumber(second_score), second)
    follow(class, entry, score)
  else
    leave_fresh(entry, score, class) -- fits nowhere: from now on only room that comes free can help it
  end
  return true
end

local function place_fresh(now, nonce, limit)
  while placed_so_far < limit and lookups_so_far < limit do
    local well, found = pcall(place_class, now, nonce, limit)
    if well and not found then return end
    if not well then -- logged, and passed over: those behind it are others'
      lookups_so_far = lookups_so_far + 1
      local first = unpack(call('ZPOPMIN', FRESH))
      event('damaged', legible(first or ''), nil, nil, legible(type(found) == 'table' and found.err or tostring(found)))
    end
  end
end

-- Places until nothing is left or `limit` is reached; answers how many, and whether work is left that can be done at once.
local function place(now, nonce, limit)
  place_dirty(now, nonce, limit)
  place_fresh(now, nonce, limit)
  settle(now)
  local left = call('EXISTS', FRESH, DIRTY, P .. 'releasing') > 0
  return placed_so_far, not stuck and left, left
end

-- What a submit does at its end: it places at once what finds room; what is left is the schedulers'.
local function place_new(now, nonce, limit)
  if queue_flush() then
    local _, more = place(now, nonce, limit)
    if more then wake() end
  end
  commit(now)
end

-- Puts a new task on a node without its queue, where nothing waits that could come before it. False: it must wait its turn.
local function place_directly(now, nonce, class_name, score, member, text)
  if call('EXISTS', P .. 'groups', FRESH, DIRTY) > 0 or setting('node_choice') == 'aligned' then return false end
  local class = class_of(class_name)
  local node = node_with_room(now, class)
  local held = node and allocate(node, class)
  if not held then return false end
  local _, watch, request = request_read(text)
  attempt_place(now, nonce, node, class, nil, score, member, text, watch, request, held)
  return true
end
