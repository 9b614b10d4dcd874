/** What a path without WebSocket needs. Loaded at the start, beside the first WebSocket, while the network works. */
export { openPoll } from './poll.js'
export { createSlot } from './slots.js'
export { openSse } from './sse.js'
