import type { Transport } from './protocol.js'

/** A transport by its place on the ladder: better ones are higher. */
export type Rung = typeof POLL | typeof SSE | typeof WS
export const POLL = 0
export const SSE = 1
export const WS = 2
/** The transports by rung. */
export const NAMES: readonly Transport[] = ['poll', 'sse', 'ws']

/** The rung of a transport. */
export const rungOf = (transport: Transport): Rung => NAMES.indexOf(transport) as Rung
