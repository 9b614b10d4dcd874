-- Appends a run of drafts, in order, and trims the log. With no drafts it makes sure that the log
-- is open, and trims it.
--
-- KEYS: the stream; the fence; the retention; the marks; the checkpoints; then for each draft its
-- token's key and the keys of its topics; for one that changes states, the index of states and for
-- each of those topics the hash of its state and the sorted set of its keys.
-- ARGV: 1, 2 two random numbers below 1024; 3 the most bytes of the stream; 4 for how many ms an
-- entry is kept; 5 for how many ms a topic's last id is kept; 6 how many replicas must be
-- connected; 7 the channel of ephemeral events; 8 the number of drafts. Then for each draft: for
-- how many ms its token is kept, its number of topics, the seq that it expects ('' any), its kind
-- (e event, s event that sets a key in states, n event that takes one out, a latest-only event, x
-- ephemeral, l notice of loss, k checkpoint, f lease), its bytes, and a name of this attempt that no
-- other draft has; for s and n also the number of topics whose states it changes, the field, and of
-- one state the most keys, the most bytes, and for how many ms a key is kept.
--
-- Answers the generation, then for each draft a letter and more: o ID appended; x ID sent, and
-- where the log ends; k ID checkpoint stored, likewise; c SEQ conflict; d, the first answer and the
-- name that came with it: a repeat; e MESSAGE refused, with all that follow.
--
-- Whatever can be refused comes before whatever cannot be undone, so that a draft whose answer is e
-- has had no effect. The time of everything is the server's: the clocks of two gateways differ.
local stream, fence, retention, marks, checkpoints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local random, leap, last_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[5]
local bytes_max, age_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local replicas, channel, drafts = tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])

local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is not a master')
end
local identity = string.match(info, 'master_replid:(%x+)')
if not identity then return redis.error_reply('NOIDENTITY no master_replid in INFO') end

-- How many replicas answered within the last three seconds: with fewer than needed, waiting for
-- them would be in vain.
local function replicas_connected()
  local connected = 0
  for state, lag in string.gmatch(info, 'slave%d+:[^\r\n]-state=(%a+)[^\r\n]-lag=(%-?%d+)') do
    if state == 'online' and tonumber(lag) <= 3 then connected = connected + 1 end
  end
  return connected
end
if drafts > 0 and replicas > 0 and replicas_connected() < replicas then
  return redis.error_reply('NOREPLICAS fewer than ' .. ARGV[6] .. ' replicas are connected')
end

local function number(n) return string.format('%.0f', n) end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local now_text = number(now)

local function last_of_stream()
  if redis.call('EXISTS', stream) == 0 then return nil end
  local facts = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then return string.match(facts[i + 1], '^(%d+)%-(%d+)$') end
  end
end

local held = redis.call('HMGET', fence, 'id', 'gen')
local generation = held[2]
local last_generation, last_seq = last_of_stream()

-- Begins a new generation: remembers where the old one ended, and says so in the stream.
local function open()
  local old, ended = last_generation, last_seq
  local newest = math.max(now_us, tonumber(old or 0), tonumber(generation or 0))
  generation = number(newest + 1 + random)
  if old then
    redis.call('HSET', fence, old, ended)
    if redis.call('HLEN', fence) > 258 then
      local known = {}
      for _, name in ipairs(redis.call('HKEYS', fence)) do
        if tonumber(name) then known[#known + 1] = name end
      end
      table.sort(known, function(a, b) return tonumber(a) < tonumber(b) end)
      for i = 1, #known - 256 do redis.call('HDEL', fence, known[i]) end
    end
  else
    -- Nothing that came before is known to be history.
    redis.call('DEL', fence, retention, marks, checkpoints)
    old, ended = '0', '0'
  end
  redis.call('HSET', fence, 'id', identity, 'gen', generation)
  -- A jump, so that a number that was given and lost is practically never given again.
  last_seq = number(tonumber(ended) + (1 + leap) * 1048576)
  redis.call('XADD', stream, generation .. '-' .. last_seq, 'k', 'gen', 'prev', old .. '-' .. ended)
end

-- What an entry costs beside its bytes. Less than the rings of a gateway charge for it, so that the
-- stream never holds less than they may.
local COST = 128
local charged = 0

-- The stream may be another server's: its numbers would be given twice.
if held[1] ~= identity or not generation or last_generation ~= generation then open() end

-- Whether an id is part of this log. What was deleted or replaced is not, and neither are the
-- answers that name it.
local function is_history(of, seq)
  if of == generation then return true end
  local ended = of and redis.call('HGET', fence, of)
  return ended and tonumber(seq) <= tonumber(ended)
end

-- The message of a refusal, if that is what a command answered.
local function refusal_of(result) return type(result) == 'table' and result.err or nil end

-- The answer to a draft with this token before, or to one whose expectation does not hold. Else
-- nil, or nil and why the server refuses.
local function known_answer(token, token_ms, expect, topic)
  local known = redis.pcall('GET', token)
  if refusal_of(known) then return nil, refusal_of(known) end
  if known and is_history(string.match(known, '^%a(%d+)%-(%d+)')) then
    -- A write, so that a WAIT on this connection covers the first append too.
    local refusal = refusal_of(redis.pcall('PEXPIRE', token, token_ms))
    if refusal then return nil, refusal end
    return 'd' .. known
  end
  if expect == '' then return nil end
  local last = redis.pcall('GET', topic)
  if refusal_of(last) then return nil, refusal_of(last) end
  local of, seq
  if last then of, seq = string.match(last, '^(%d+)%-(%d+)$') end
  if of and of ~= generation and redis.call('HEXISTS', fence, of) == 0 then seq = nil end
  seq = seq or '0'
  if seq ~= expect then return 'c' .. seq end
end

-- Stores how far a source has been taken over: by all drafts before it, none of which was refused.
local function checkpoint(source, position)
  local refusal = refusal_of(redis.pcall('HSET', checkpoints, source, position))
  if refusal then return nil, refusal end
  return 'k' .. generation .. '-' .. last_seq
end

-- Takes a field out of a state.
local function forget(hash, order, field)
  local held = redis.call('HSTRLEN', hash, field)
  if held == 0 then return end
  redis.call('HDEL', hash, field)
  redis.call('ZREM', order, field)
  redis.call('HINCRBY', hash, 'b', -(held + #field))
end

-- Takes the oldest fields out of a state while there is too much: some, or more if they are smaller
-- than the `added` bytes, so that a state above its bounds does not grow. The rest is for the next
-- calls. The field p says until when they would have been there.
local function make_room(hash, order, keys_max, state_bytes, age, added)
  local count, total = redis.call('ZCARD', order), tonumber(redis.call('HGET', hash, 'b'))
  local least, gone, last = total - added, 0, nil
  while count > keys_max or (total > state_bytes and count > 1) do
    if gone >= 16 and total <= least then break end
    last = redis.call('ZRANGE', order, 0, 0, 'WITHSCORES')
    forget(hash, order, last[1])
    count, gone, total = count - 1, gone + 1, tonumber(redis.call('HGET', hash, 'b'))
  end
  if last then redis.call('HSET', hash, 'p', number(tonumber(last[2]) + age)) end
end

-- Changes the states whose keys begin at `first`, after their index: the field has the event with
-- this id from now on, or goes. Fields that are too old go, and the oldest if there is too much.
-- Topics whose states are over leave the index. ARGV has the rest from `at` on.
local function change_states(id, kind, bytes, first, at)
  local topics, field = tonumber(ARGV[at]), ARGV[at + 1]
  local keys_max, state_bytes, age = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  for topic = 1, topics do
    local hash, order = KEYS[first + 2 * topic - 1], KEYS[first + 2 * topic]
    forget(hash, order, field)
    if kind == 's' then
      local value = id .. ' ' .. now_text .. ' ' .. bytes
      redis.call('HSET', hash, field, value)
      redis.call('ZADD', order, now_text, field)
      redis.call('HINCRBY', hash, 'b', #value + #field)
      for _, old in ipairs(redis.call('ZRANGEBYSCORE', order, '-inf', number(now - age), 'LIMIT', 0, 16)) do
        forget(hash, order, old)
      end
      make_room(hash, order, keys_max, state_bytes, age, #value + #field)
      redis.call('PEXPIRE', hash, number(age))
      redis.call('PEXPIRE', order, number(age))
      redis.call('ZADD', KEYS[first], number(now + age), string.match(hash, ':v:(.*)$'))
    end
  end
  local over = redis.call('ZRANGEBYSCORE', KEYS[first], '-inf', '(' .. now_text, 'LIMIT', 0, 16)
  if #over > 0 then redis.call('ZREM', KEYS[first], unpack(over)) end
end

-- Writes the token first. A server that refuses writes refuses this one, and nothing has happened.
-- What follows can only be refused for want of a permission; then the token is taken back. Returns
-- the answer, or nil and why it was refused.
local function append(token, token_ms, kind, bytes, name, first_topic, last_topic)
  local seq = last_seq
  if kind ~= 'x' then seq = number(tonumber(last_seq) + 1) end
  local id = generation .. '-' .. seq
  local answer = (kind == 'x' and 'x' or 'o') .. id
  local refusal = refusal_of(redis.pcall('SET', token, answer .. ' ' .. name, 'PX', token_ms))
  if refusal then return nil, refusal end
  local result
  if kind == 'x' then
    result = redis.pcall('PUBLISH', channel, now_text .. ' ' .. bytes)
  elseif kind == 'l' then
    result = redis.pcall('XADD', stream, id, 'k', 'lost', 'd', bytes)
  else
    result = redis.pcall('XADD', stream, id, 'd', bytes, 't', now_text)
  end
  refusal = refusal_of(result)
  if refusal then
    redis.pcall('DEL', token)
    return nil, refusal
  end
  if kind == 'x' then return answer end
  last_seq, charged = seq, charged + #bytes + COST
  if kind == 'e' or kind == 's' or kind == 'n' then
    for topic = first_topic, last_topic do redis.call('SET', KEYS[topic], id, 'PX', last_ms) end
  end
  return answer
end

-- Whether this lease is still the one that counts. A lease stands before the drafts that need it.
local function lease(key, token)
  local held = redis.pcall('GET', key)
  if refusal_of(held) then return nil, refusal_of(held) end
  if held ~= token then return nil, 'LEASE another has it' end
  return 'k' .. generation .. '-' .. last_seq
end

local answers = { generation }
local key, at, refusal = 6, 9, nil
for draft = 1, drafts do
  local token_ms, topics, expect, kind = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local bytes, name = ARGV[at + 4], ARGV[at + 5]
  local token, first_topic = KEYS[key], key + 1
  at, key = at + 6, first_topic + topics
  local last_topic, states = key - 1, nil
  if kind == 's' or kind == 'n' then
    states, at, key = { key = key, at = at }, at + 5, key + 1 + 2 * tonumber(ARGV[at])
  end
  local answer
  if refusal then
    answer = nil
  elseif kind == 'k' then
    answer, refusal = checkpoint(name, bytes)
  elseif kind == 'f' then
    answer, refusal = lease(token, bytes)
  else
    answer, refusal = known_answer(token, token_ms, expect, KEYS[first_topic])
  end
  if not refusal and not answer then
    answer, refusal = append(token, token_ms, kind, bytes, name, first_topic, last_topic)
    if answer and states then
      change_states(string.sub(answer, 2), kind, bytes, states.key, states.at)
    end
  end
  answers[#answers + 1] = answer or 'e' .. refusal
end

-- A mark ID BYTES TIME says: up to ID so many bytes were ever appended, the last of them at TIME.
-- There is one for each 64th of what is kept, in bytes and in time, or one for each call that
-- appends more. Returns how many bytes were ever appended.
local function mark()
  local held = redis.call('HMGET', retention, 'bytes', 'last', 'marked', 'at')
  local total, last = tonumber(held[1] or 0) + charged, tonumber(held[2] or now)
  local marked, marked_at = tonumber(held[3] or 0), tonumber(held[4] or now)
  if charged > 0 then last = now end
  local is_due = total - marked >= bytes_max / 64 or now - marked_at >= age_max / 64 or now < marked_at
  if total > marked and is_due then
    redis.call('RPUSH', marks, generation .. '-' .. last_seq .. ' ' .. number(total) .. ' ' .. number(last))
    marked, marked_at = total, now
  elseif charged == 0 then
    return total
  end
  redis.call('HSET', retention, 'bytes', number(total), 'last', number(last), 'marked', number(marked),
    'at', number(marked_at))
  return total
end

-- Trims what lies before a mark that is over, some thousand entries at a time: the rest is for the
-- next calls.
local function trim(total)
  for _ = 1, 4 do
    local oldest = redis.call('LINDEX', marks, 0)
    if not oldest then return end
    local of, seq, bytes, at = string.match(oldest, '^(%d+)%-(%d+) (%d+) (%d+)$')
    if is_history(of, seq) then
      if total - tonumber(bytes) < bytes_max and now - tonumber(at) <= age_max then return end
      local trimmed = redis.call('XTRIM', stream, 'MINID', '~', of .. '-' .. seq, 'LIMIT', 1000)
      if trimmed > 0 then oldest = nil end
    end
    if oldest then redis.call('LPOP', marks) end
  end
end

-- What was appended is appended, whatever becomes of this. Only a call for nothing else tells of
-- its refusal.
local ok, refused = pcall(function() if bytes_max > 0 then trim(mark()) end end)
if not ok and drafts == 0 then return redis.error_reply(type(refused) == 'table' and refused.err or refused) end
return answers
