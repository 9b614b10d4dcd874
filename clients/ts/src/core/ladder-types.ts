import type { Bye, Transport } from './protocol.js'

/** Why a link is gone, as far as the ladder cares. */
export type CloseKind =
  /** Cut, refused by something on the path, timed out: may be the transport's fault. */
  | 'lost'
  /** A poll that was superseded, or a hole in the chain of batches: reconnect with the cursor, nobody's fault. */
  | 'gap'
  /** The gateway is busy, draining, or asks for time: not the transport's fault. */
  | 'busy'
  /** The token was refused. */
  | 'auth'
  /** The gateway refuses for good. */
  | 'fatal'

/** How a link ended. */
export interface Close {
  readonly kind: CloseKind
  /** Milliseconds that the other side asked to wait. */
  readonly retryAfterMs?: number
  /** A close code, an HTTP status, or nothing. */
  readonly code?: number
  readonly message?: string
}

/** Bounded: safe as a metric label. */
export type SwitchReason =
  | 'first' // first proof since connecting
  | 'upgrade' // a better transport was proven
  | 'lost' // the link was cut
  | 'silent' // the link said nothing for too long
  | 'buffered' // the path withholds the stream
  | 'refused' // the path does not let the transport through
  | 'bye' // the gateway ended the stream
  | 'gap' // a batch did not follow the one before it
  | 'auth' // the token was refused

/** The session's state as an application sees it. */
export type Phase = 'idle' | 'connecting' | 'live' | 'degraded' | 'recovering' | 'offline' | 'paused' | 'closed'

/** What happened to the page. */
export type PageSignal =
  | 'hidden'
  | 'visible' // visible again
  | 'wake' // focus, resume, pageshow: look whether the link still lives
  | 'online'
  | 'offline'
  | 'network' // another network, perhaps with other obstacles
  | 'pagehide'

/** Everything that can happen to the ladder. */
export type Input =
  | { readonly type: 'start' }
  | { readonly type: 'stop'; readonly error?: Close }
  | { readonly type: 'page'; readonly signal: PageSignal }
  | { readonly type: 'tick' }
  /** The socket is open, or the response head is there. */
  | { readonly type: 'open'; readonly link: number }
  /** Any byte. */
  | { readonly type: 'heard'; readonly link: number }
  | { readonly type: 'batch'; readonly link: number; readonly bye?: Bye; readonly heartbeatMs?: number }
  | { readonly type: 'closed'; readonly link: number; readonly close: Close }
  /** Events arrive seconds after they happened, time after time. */
  | { readonly type: 'lagging'; readonly link: number }
  /** A negative kept from an earlier page. */
  | { readonly type: 'blocked'; readonly transport: Transport; readonly until: number }
  /** The remembered negatives do not hold any more (another deployment). */
  | { readonly type: 'forget' }
  /** Open the current transport anew beside itself: its parameters changed. */
  | { readonly type: 'reopen' }
  /** Nothing above this transport; null: no limit. */
  | { readonly type: 'prefer'; readonly transport: Transport | null }

/** What the ladder wants done. */
export type Effect =
  | {
      readonly do: 'open'
      readonly link: number
      readonly transport: Transport
      readonly pad: boolean
      readonly heartbeatMs: number
    }
  | { readonly do: 'close'; readonly link: number }
  | { readonly do: 'ping'; readonly link: number }
  /** The next link needs a fresh token. */
  | { readonly do: 'refresh' }
  /** The gateway ended this session: the next link starts another. */
  | { readonly do: 'anew' }
  /** Keep until then that the transport does not work here. */
  | { readonly do: 'remember'; readonly transport: Transport; readonly until: number }
  | { readonly do: 'forget' }
  | { readonly do: 'switched'; readonly from: Transport | null; readonly to: Transport; readonly reason: SwitchReason }
  | { readonly do: 'lost'; readonly transport: Transport; readonly reason: SwitchReason; readonly close?: Close }

/** One connection, or one loop of polls. */
export interface LinkState {
  readonly id: number
  readonly transport: Transport
  readonly startedAt: number
  /** Asked of the gateway; replaced by what `hello` says. */
  heartbeatMs: number
  /** The second try of the same transport: with padding, or from the cursor that has moved on. */
  readonly second: boolean
  /** Opened to climb, beside a link that works. */
  readonly probe: boolean
  openedAt: number | null
  firstAt: number | null
  provenAt: number | null
  /** Proven for long enough to count as stable. */
  stable: boolean
  heardAt: number
  /** Deadlines count from here when the clock jumped; otherwise 0. */
  graceFrom: number
  pingAt: number | null
  /** Silent beyond its heartbeat: anything proven beats it. */
  suspect: boolean
  /** About to end, or to be replaced: anything proven beats it, and its end is nobody's fault. */
  leaving: boolean
  bye: Bye['reason'] | null
  /** Will be closed then: it lost. */
  closeAt: number | null
}

/** Better transports rank higher. */
export const RANK: Readonly<Record<Transport, number>> = { ws: 2, sse: 1, poll: 0 }
