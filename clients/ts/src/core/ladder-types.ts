import type { Carrier } from './carrier.js'
import type { Memory } from './memory.js'
import type { Bye, Transport } from './protocol.js'
import type { Rung } from './rung.js'
import type { Timing } from './timing.js'

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

/** What telemetry hears: bounded names, safe as metric labels. */
export type Telemetry =
  | {
      readonly type: 'transport'
      readonly from: Transport | null
      readonly to: Transport
      readonly reason: SwitchReason
    }
  | { readonly type: 'lost'; readonly transport: Transport; readonly reason: SwitchReason; readonly code?: number }

/** The session's state as an application sees it. */
export type Phase = 'idle' | 'connecting' | 'live' | 'degraded' | 'recovering' | 'offline' | 'paused' | 'closed'

/** What the ladder wants done. Nothing here may call back into it before it has returned. */
export interface Effects {
  /** @param pad asks for padding, which some buffering paths need. */
  open(link: LinkState, pad: boolean): void
  close(link: LinkState): void
  /** Asks a link whether it lives; a poll that waits is asked anew. */
  ping(link: LinkState): void
  report(telemetry: Telemetry): void
}

/** One connection, or one loop of polls. What has not happened yet is absent. */
export interface LinkState {
  readonly rung: Rung
  /** Opened to climb, beside a link that works. */
  readonly climbing: boolean
  /** The second try of the same transport: with padding, or from the cursor that has moved on. */
  readonly second: boolean
  readonly startedAt: number
  /** Time for a handshake or response head. */
  readonly connectMs: number
  /** Asked of the gateway; replaced by what `hello` says. */
  heartbeatMs: number
  openedAt?: number
  firstAt?: number
  /** When it was shown to deliver: `hello` and one more batch, or an answered poll. */
  provenAt?: number
  /** Proven for long enough to count as stable. */
  lasting?: boolean
  heardAt: number
  /** More has to follow within moments: the rest of a message, or the batch after a burst. */
  owes?: boolean
  /**
   * Deadlines count from here: its request went out then, or the clock jumped. Infinity: it waits
   * for a token.
   */
  graceFrom: number
  pingAt?: number
  /** Silent beyond its heartbeat, or with what it owes: anything proven beats it. */
  suspect?: boolean
  /** About to end, or to be replaced: anything proven beats it, and its end is nobody's fault. */
  leaving?: boolean
  bye?: Bye['reason']
  /** Will be closed then: it lost. */
  closeAt?: number
  /** What runs for it; the ladder does not look inside. */
  carrier?: Carrier
}

/** Links being opened best first, the next one when the last has not been proven in time. */
export interface Race {
  rungs: Rung[]
  nextAt: number
  /** Climbing beside a link that works. */
  readonly climbing: boolean
}

/** How the ladder is set up. */
export interface LadderOptions {
  readonly transports: readonly Transport[]
  readonly timing: Timing
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Whether a refused token can be replaced. */
  readonly canRefresh: boolean
  readonly memory: Memory
  readonly effects: Effects
}
