-- What this server is and how far its log goes. KEYS: the stream, the fence.
-- Answers role, identity, last id ('' no stream), and the fence's fields and values.
local info = redis.call('INFO', 'replication')
local role, identity = string.match(info, 'role:(%a+)'), string.match(info, 'master_replid:(%x+)')
local last = ''
if redis.call('EXISTS', KEYS[1]) == 1 then
  local facts = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then last = facts[i + 1] end
  end
end
return { role, identity, last, redis.call('HGETALL', KEYS[2]) }
