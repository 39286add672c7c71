--@include _array
--@include _required
--@include _limits
-- The pending queues and the indexes of their heads (keys.py: pending:CLASS, classes:GROUP, groups, limited:NAME, fresh).
-- Changes are collected in Lua and written by queue_flush(), each key once.
--
-- An entry is a score and a member; members begin with the sequence (SEQUENCE hex digits), so comparing (score, member)
-- gives promise 4's order at every level: tasks of a class, classes of a group, groups.

local classes_seen, groups_seen = {}, {} -- name → object
local queue_changed = {}       -- class objects with something to write
local moved = {}               -- those from which something was taken, in the order of what they have next, as far as it is known
local something_taken = false  -- whether something leaves its queue
local groups_changed = {}      -- group objects of which an index has something to write
local limited_changed = {}     -- name of a limit → { gone, new } of the index of those that ask for it
local MOST_GROUPS = 1000       -- that wait at once (may_wait)
local groups_new = 0           -- those that this script lets in

local function earlier(score, member, than_score, than_member)
  --@mark order
  return score < than_score or (score == than_score and member < than_member)
end

-- The bounds of coarse steps are 0, 1, 2, 3, 4, 6, 8, 12, 16, 24 …: the least that holds `amount`, and the one below it.
local function step(amount)
  if amount == 0 then return 0, 0 end
  local fraction, exponent = math.frexp(amount)
  local power = 2 ^ exponent
  if fraction == 0.5 then return power / 2, power * 3 / 8 end
  if fraction <= 0.75 then return power * 3 / 4, power / 2 end
  return power, power * 3 / 4
end

-- What the name of a class says: its parts, `size` (CPU:MEMORY), what is required beside it (_required; of that `amounts` and
-- `limits`, nil where there are none) and the name of its group. Nil: it is none.
local function class_parse(name)
  local size, required = string.match(name, '^(%d+:%d+)(.*)$')
  local cpu, memory = string.match(size or '', '^(%d+):(%d+)$')
  cpu, memory = tonumber(cpu), tonumber(memory)
  if not cpu or not memory or memory < 1 or cpu > PY.MOST_CPU or memory > PY.MOST_MEMORY then return nil end
  local amounts, limits
  if required ~= '' then
    local labels, amounts_text, limits_text, refused = string.match(required, REQUIRED)
    if labels ~= '' and not string.find(labels, '^%+[a-z0-9._+-]+$') then return nil end
    if refused ~= '' and not string.find(refused, '^![%w!:._-]+$') then return nil end
    amounts, limits = amounts_parse(amounts_text), limits_parse(limits_text)
    if not amounts or not limits then return nil end
    amounts, limits = #amounts > 0 and amounts or nil, #limits > 0 and limits or nil
  end
  return {
    name = name, size = size, cpu = cpu, memory = memory, required = required, amounts = amounts, limits = limits,
    group = step(cpu) .. ':' .. step(memory) .. required,
  }
end

-- The same of the best class of a group, which each walk asks for: kept from call to call, as a name always says the same. So
-- many names, of such a length: what is kept slows the collection of garbage.
local MOST_KEPT, LONGEST_KEPT = 512, 100
local KEPT = { needs = {}, number = 0 }

local function need_of(name)
  local need = KEPT.needs[name]
  if need then return need end
  need = class_parse(name)
  if need and #name <= LONGEST_KEPT then
    if KEPT.number == MOST_KEPT then KEPT.needs, KEPT.number = {}, 0 end
    KEPT.needs[name], KEPT.number = need, KEPT.number + 1
  end
  return need
end

-- Those that are kept: name → what it says.
local function needs_kept()
  return KEPT.needs
end

local function group_of(need)
  local name = need.group
  local group = groups_seen[name]
  if not group then
    group = {
      key = P .. 'classes:' .. name, required = need.required, heads = {}, all = false, cursor = 1, head = nil,
      known = false, changed = false, strays = 0, old_score = nil, old_best = nil, admitted = nil, gone = {}, new = {},
    }
    groups_seen[name] = group
  end
  return group
end

-- The class of that name; nil: it is none.
local function class_of(name)
  local class = classes_seen[name]
  if not class then
    local need = needs_kept()[name] or class_parse(name)
    if not need then return nil end
    class = {
      name = name, key = P .. 'pending:' .. name, need = need, cpu = need.cpu, memory = need.memory, limits = need.limits, group = group_of(need),
      added = {}, removed = {}, buffer = {}, position = 1, taken = 0, rests = nil, entry = nil, touched = false,
      moved = false, peeked = false, exhausted = false, score = nil, member = nil, array = nil, old_score = nil, old_head = nil,
    }
    classes_seen[name] = class
  end
  return class
end

-- Whether tasks of that class may come into the queues. Whoever looks for the earliest task that fits walks the groups. By
-- sizes alone there are never many; by what is required, and by who has refused, there are as many as somebody makes up.
-- So such a group comes in only while there is room for one more. What comes back from a node isn't asked about: that is
-- never more than runs.
local function may_wait(class_name)
  local class = class_of(class_name)
  local group = class and class.group
  if not group or group.required == '' then return true end
  if group.admitted == nil then
    group.admitted = call('EXISTS', group.key) == 1
    if not group.admitted and call('ZCARD', P .. 'groups') + groups_new < MOST_GROUPS then
      group.admitted, groups_new = true, groups_new + 1
    end
  end
  return group.admitted
end

local function first_of(key)
  local member, score = unpack(call('ZRANGE', key, '0', '0', 'WITHSCORES'))
  return tonumber(score), member
end

-- Before the first change: which head the index holds.
local function class_touch(class)
  if class.touched then return end
  class.touched = true
  class.old_score, class.old_head = first_of(class.key)
  queue_changed[#queue_changed + 1] = class
end

-- From the first task on that needs no cores all nodes know (node: drivers) that one without free cores isn't full.
local function drivers_begin()
  if not setting_say('drivers') then return end
  for _, id in ipairs(read('ZRANGE', P .. 'nodes', '0', '-1')) do read('HSET', P .. 'node:' .. id, 'drivers', '1') end
end

-- `number`: for how many tasks the entry stands (nil: one).
local function queue_add(class_name, score, member, number)
  local class = class_of(class_name)
  if not class then return end -- task_pending() looks before
  if class.cpu == 0 then drivers_begin() end
  class_touch(class)
  local added = class.added
  added[#added + 1] = score
  added[#added + 1] = member
  if not class.first or earlier(score, member, class.first_score, class.first) then
    class.first_score, class.first = score, member
  end
  count('pending', number or 1)
end

local function queue_remove(class_name, member, number)
  local class = class_of(class_name)
  if not class then return end
  class_touch(class)
  something_taken = true
  class.removed[#class.removed + 1] = member
  count('pending', -(number or 1))
end

-- The earliest entry of the queue that this script hasn't taken yet: score, member.
local function entry_peek(class)
  local buffer = class.buffer
  if class.position > #buffer then
    if class.exhausted then return nil end
    local most = class.taken == 0 and 4 or 32
    buffer = call('ZRANGE', class.key, whole(class.taken), whole(class.taken + most - 1), 'WITHSCORES')
    class.buffer, class.position = buffer, 1
    class.exhausted = #buffer < 2 * most
    if #buffer == 0 then return nil end
  end
  return tonumber(buffer[class.position + 1]), buffer[class.position]
end

-- The ids of the entries that were read of the queue and aren't taken yet, at most so many.
local function ids_ahead(class, most)
  local ids, buffer = {}, class.buffer
  for i = class.position, math.min(#buffer, class.position + 2 * most - 1), 2 do
    if string.byte(buffer[i], -1) ~= REST then ids[#ids + 1] = string.sub(buffer[i], PY.SEQUENCE + 1) end
  end
  return ids
end

-- Reads what a class has next.
local function class_read(class)
  local score, member = entry_peek(class)
  local array = member and string.byte(member, -1) == REST and array_of(member) or nil
  if array and array.class_name == class.name then member = array_head(array) else array = nil end
  for _, rest in ipairs(class.rests or {}) do
    if rest.next <= rest.last and (not score or earlier(rest.score, array_head(rest), score, member)) then
      score, member, array = rest.score, array_head(rest), rest
    end
  end
  class.peeked, class.score, class.member, class.array = true, score, member, array
end

-- Puts a class from which something was taken where its next task belongs; one that has none isn't there any more.
local function class_move(class)
  if class.moved then
    local known = 1
    while moved[known] and moved[known] ~= class do known = known + 1 end
    table.remove(moved, known)
  end
  class.moved = true
  class_read(class)
  local score, member = class.score, class.member
  if not score then return end
  local at = #moved
  while at > 0 and earlier(score, member, moved[at].score, moved[at].member) do at = at - 1 end
  table.insert(moved, at + 1, class)
end

-- The earliest task of the class that this script hasn't taken yet: score, member, and the array that makes it.
local function class_peek(class)
  if not class.peeked then
    if class.moved then class_move(class) else class_read(class) end
  end
  return class.score, class.member, class.array
end

-- Something was taken from the class. What it has next is read when somebody asks for it: until then it stays where it was.
local function class_changed(class)
  class.peeked = false
  if not class.moved or class.position <= #class.buffer then class_move(class) end
end

-- The first of the classes from which something was taken that fits, if it is accepted: see first_fit().
local function first_moved(cpu, memory, carries, accept)
  local at = 1
  while moved[at] do
    local class = moved[at]
    local required = class.group.required
    if class.cpu > cpu or class.memory > memory or (required ~= '' and not (carries and carries(required))) then
      at = at + 1
    elseif not class.peeked then
      class_move(class) -- what stands here now is looked at next
    elseif accept and not accept(class.score, class.member, class) then
      at = at + 1
    elseif class.limits and limit_blocking(class.limits, class.score, class.member) then
      at = at + 1
    else
      return class
    end
  end
end

-- The rest of an array from which something is taken: from now on it is kept here, and not looked for in the queue.
local function rest_begin(class, score, array)
  array.taken, array.score = true, score
  class.rests = class.rests or {}
  class.rests[#class.rests + 1] = array
end

-- The entry that entry_peek() has shown leaves the queue.
local function entry_take(class)
  class.removed[#class.removed + 1] = class.buffer[class.position]
  class.position = class.position + 2
  class.taken = class.taken + 1
end

-- Takes what class_peek() has shown. The record of what an array makes must be written.
local function class_take(class, score, member, array)
  if not class.touched then
    class.touched = true
    class.old_score, class.old_head = score, member
    queue_changed[#queue_changed + 1] = class
  end
  something_taken = true
  count('pending', -1)
  if not array or not array.taken then entry_take(class) end
  if array then
    if not array.taken then rest_begin(class, score, array) end
    array_take(array)
  end
  class_changed(class)
end

-- Whether entries leave their queues by this script; those that leave the queue of a class, where one is given.
local function taken_of(class_name)
  if not class_name then return something_taken end
  local class = something_taken and classes_seen[class_name]
  return class and class.removed or {}
end

-- Takes the earliest entry out of the queue, whatever it is. `tasks`: for how many it counts.
local function class_drop(class, tasks)
  class_touch(class)
  something_taken = true
  count('pending', -tasks)
  entry_take(class)
  class_changed(class)
end

-- An entry of a class in the indexes of heads has no task in its queue: it goes, and what is there comes forward.
local function heads_mend(class)
  local entry = class.entry or ''
  call('ZREM', class.group.key, entry)
  call('ZREM', P .. 'groups', entry)
  local score, best = first_of(class.group.key)
  if best then call('ZADD', P .. 'groups', score, best) end
end

-- What is left of arrays stands behind what was taken from them.
local function rests_write(class)
  for _, array in ipairs(class.rests) do
    --@mark rest_left
    if array_write(array) then call('ZADD', class.key, array.score, array_member(array)) end
  end
end

-- Writes the queue; the head that it has then.
local function class_write(class)
  local score, head = class.old_score, class.old_head
  local some_added, some_removed = #class.added > 0, #class.removed > 0
  if class.rests then rests_write(class) end
  if some_added then call('ZADD', class.key, unpack(class.added)) end
  if some_removed then
    call('ZREM', class.key, unpack(class.removed))
    if not (class.moved and class.peeked) then return first_of(class.key) end
    score, head = class_peek(class)
  end
  if some_added and (not head or earlier(class.first_score, class.first, score, head)) then return class.first_score, class.first end
  return score, head
end

-- How the head of a queue stands in the indexes of heads. (One that is too short to be one as if it weren't.)
local function head_of_queue(member, class)
  if #member < PY.SEQUENCE then member = member .. string.rep('0', PY.SEQUENCE) end
  return string.sub(member, 1, PY.SEQUENCE) .. class.name
end

-- The same in the indexes of those that ask for these limits.
local function limited_change(limits, score, entry, old_entry)
  for _, one in ipairs(limits) do
    local change = limited_changed[one.name] or { gone = {}, new = {} }
    limited_changed[one.name] = change
    if old_entry then change.gone[#change.gone + 1] = old_entry end
    if entry then change.new[#change.new + 1], change.new[#change.new + 2] = score, entry end
  end
end

-- Moves the class's entry in its group's index; a new, earlier head is news for the schedulers (`fresh`).
local function index_change(class, score, head)
  local group, old = class.group, class.old_head
  local entry, old_entry = head and head_of_queue(head, class), old and head_of_queue(old, class)
  local unseen = false
  if score == class.old_score and entry == old_entry then
    -- What was there before may never have been entered: nobody would see what is behind it.
    unseen = head and #class.added > 0 and not call('ZSCORE', group.key, entry)
    if not unseen then return false end
  end
  if not group.known then
    group.known = true
    group.old_score, group.old_best = first_of(group.key)
  end
  if not group.changed then
    group.changed = true
    groups_changed[#groups_changed + 1] = group
  end
  if class.limits then limited_change(class.limits, score, entry, old_entry) end
  --@mark old_head
  if old then group.gone[#group.gone + 1] = old_entry end
  if not head then return false end
  group.new[#group.new + 1] = score
  group.new[#group.new + 1] = entry
  if #class.added > 0 and (unseen or not old or earlier(score, head, class.old_score, old)) then
    --@mark new_head
    call('ZADD', P .. 'fresh', score, entry)
    return true
  end
  return false
end

local function heads_write(key, gone, new)
  if #gone > 0 then call('ZREM', key, unpack(gone)) end
  if #new > 0 then call('ZADD', key, unpack(new)) end
end

-- Writes the group's index; the best head that it has then.
local function group_write(group)
  heads_write(group.key, group.gone, group.new)
  local score, best = first_of(group.key)
  while best do
    -- One that isn't of this group would hide all that is behind it.
    local class = class_of(string.sub(best, PY.SEQUENCE + 1))
    if class and class.group == group then break end
    call('ZREM', group.key, best)
    score, best = first_of(group.key)
  end
  return score, best
end

-- Writes all changes; forgets what was read. Returns true if there is something new to place.
local function queue_flush()
  if #queue_changed == 0 then return false end
  records_flush() -- first: an index that was damaged ends the script, and what an array has made would be nowhere
  local news = false
  for _, class in ipairs(queue_changed) do
    local score, head = class_write(class)
    if index_change(class, score, head) then news = true end
  end
  local gone, new = {}, {}
  for _, group in ipairs(groups_changed) do
    local score, best = group_write(group)
    if best ~= group.old_best or score ~= group.old_score then
      gone[#gone + 1] = group.old_best
      if best then new[#new + 1], new[#new + 2] = score, best end
    end
  end
  heads_write(P .. 'groups', gone, new)
  for name, change in pairs(limited_changed) do heads_write(P .. 'limited:' .. name, change.gone, change.new) end
  classes_seen, groups_seen, groups_new, queue_changed, groups_changed, moved, something_taken = {}, {}, 0, {}, {}, {}, false
  limited_changed = {}
  arrays_forget()
  return news
end

local sequences = { given = 0, last = 0 } -- the last one that was given out, and the last that was taken from Redis

-- Takes so many sequence numbers at once; false: there aren't so many. What isn't given out is never used.
local function sequences_take(number)
  local first = sequences_new(number)
  if not first then return false end
  sequences.given, sequences.last = first - 1, first - 1 + number
  return true
end

-- A new sequence number: behind everything that has one. Nil: they are used up.
local function next_sequence()
  if sequences.given == sequences.last and not sequences_take(1) then return nil end
  sequences.given = sequences.given + 1
  return sequence_text(sequences.given)
end

-- Those that weren't given out are there again: a submit of what is here already changes nothing.
local function sequences_back()
  if sequences.given < sequences.last then call('DECRBY', P .. 'seq', whole(sequences.last - sequences.given)) end
  sequences = { given = 0, last = 0 }
end

local aging

-- The score: −priority, less what the task gains by waiting (settings: aging, priority an hour).
local function score_of(priority, submitted)
  if not aging then
    aging = tonumber(setting('aging')) or 0
    if not (aging > 0 and aging < PY.EXACT) then aging = 0 end
  end
  if aging == 0 then return -priority end
  return -priority + aging * submitted / 3600000
end
