import type { Client, ThroughlineEvent } from '@throughline/client'
import { backoff, isPassing, pause, RETRY_MS, retryDelay } from './retry.js'

/** How often history is asked again while it is behind the stream: for about a minute. */
const LAGS_MAX = 6
/** Events of the stream that are kept until history has reached the first of them. */
const EARLY_MAX = 1000
/**
 * When what is retained is read again while the stream has brought nothing: by then it has begun.
 */
const LOOKS_MS = [1000, 5000, 25_000]
/** How far a cursor reaches (PROTOCOL.md, N5). */
const seqOf = (cursor: string): number => Number(cursor.split('.')[1])

/** What a follower is told. */
export interface Followed {
  /**
   * The next event of the topic: each once, in the order of the log; ephemeral events as they come.
   * No presence.
   */
  take(event: ThroughlineEvent): void
  /** Events of the topic are missing or may be. Nothing is taken after this. */
  lost(reason: Error): void
}

/**
 * Every event of one topic after a cursor: first what the gateway retains, then what the client's
 * stream brings. The stream may begin later than the retained events end. So the events of the
 * stream are kept, and history is read again, until history has reached the first of them. From
 * then on the two have met, and the stream alone is complete. If history stays behind for a minute,
 * `lost` is called. On a quiet topic history is read again after 1, 5 and 25 s.
 * @param after a cursor, or `earliest`: nothing was published before.
 */
// Its inner functions share the state of one reader: a class would only spell each of them `this.`.
export function followTopic(client: Client, name: string, after: string, { take, lost }: Followed) {
  const topic = client.topic(name)
  let isOpen = false
  let isLost = false
  /** Stream and retained events have met. */
  let hasMet = false
  /** Everything retained up to this cursor was taken. */
  let place = after
  let isMarking = false
  /** What the stream has brought before the two met. */
  const early: ThroughlineEvent[] = []
  /** The latest event that was taken. */
  let lastSeq = 0
  /** The topic's last event as the gateway counts it; see `expect`. */
  let known = 0
  let isRead = false
  let flight: Promise<void> | undefined
  let again = false
  let looks: ReturnType<typeof setTimeout>[] = []
  let arrived = (): void => {}
  let off = (): void => {}

  function fail(reason: unknown): void {
    if (isLost) return
    isLost = true
    close()
    lost(reason instanceof Error ? reason : new Error(`${reason}`))
  }

  function close(): void {
    isOpen = false
    hasMet = false
    early.length = 0
    looks.forEach(clearTimeout)
    off()
    arrived()
  }

  function accept(event: ThroughlineEvent): void {
    const { seq = 0 } = event
    if (isLost || seq <= lastSeq) return
    lastSeq = seq
    known = seq
    take(event)
    arrived()
  }

  function heard(event: ThroughlineEvent): void {
    const { seq, type } = event
    if (type.startsWith('presence.')) return
    if (seq === undefined) return take(event)
    if (hasMet) {
      accept(event)
      return mark()
    }
    early.push(event)
    if (early.length > EARLY_MAX) early.shift()
    void load()
  }

  /** Goes over to the stream if history has reached it. */
  function meet(): void {
    const first = early[0]?.seq
    if (first === undefined || seqOf(place) < first) return
    hasMet = true
    early.splice(0).forEach(accept)
  }

  /**
   * Once the batch that is being delivered has been taken as a whole, there is no need to go back
   * behind it.
   */
  function mark(): void {
    if (isMarking) return
    isMarking = true
    queueMicrotask(() => {
      isMarking = false
      if (hasMet) place = client.state.cursor ?? place
    })
  }

  /** Takes what is retained after `place`, as it stands at this call or later. */
  function load(): Promise<void> {
    again = true
    flight ??= run().finally(() => {
      flight = undefined
    })
    return flight
  }

  /** Waits for a gateway that has not heard yet of what the others have. */
  async function lag(times: number): Promise<void> {
    if (times < LAGS_MAX) await pause(backoff(times))
    else fail(new Error('events may be missing: history stays behind the stream'))
  }

  async function run(): Promise<void> {
    let tries = 0
    let lags = 0
    while (again && isOpen) {
      again = false
      try {
        const { events, cursor, more, reset } = await topic.since(place)
        if (!isOpen) return
        if (reset) return fail(new Error(`events may be missing: ${reset.reason}`))
        place = cursor
        events.forEach(accept)
        tries = 0
        meet()
        again ||= !!more
        if (again) continue
        isRead = true
        if (!early.length) continue
        again = true
        await lag(lags)
        lags += 1
      } catch (error) {
        if (!isPassing(error)) return fail(error)
        again = true
        await pause(retryDelay(error, tries))
        tries += 1
      }
    }
  }

  const arrival = (seq: number): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        arrived = () => {}
        resolve()
      }
      const timer = setTimeout(done, RETRY_MS)
      arrived = () => (lastSeq >= seq || !isOpen) && done()
    })

  return {
    /** Fails with a reason, as a missing event does. */
    fail,
    close,

    /** Waits until what is retained was read for the first time. */
    async ready(): Promise<void> {
      if (!isRead) await load()
    },

    /** The seq that a publish may expect as the topic's last: everything up to it was taken. */
    get expect(): number {
      return known
    },

    open(): void {
      if (isLost) return
      isOpen = true
      const offs = [
        topic.onAny(heard),
        topic.onReset(({ reason }) => {
          if (hasMet) return fail(new Error(`events may be missing: ${reason}`))
          // The stream begins anew.
          early.length = 0
          void load()
        }),
      ]
      off = () => {
        for (const end of offs) end()
      }
      looks = LOOKS_MS.map((ms) => setTimeout(() => hasMet || void load(), ms))
      void load()
    },

    /** An own publish was appended right after `expect`. */
    confirm(seq: number | undefined): void {
      lastSeq = Math.max(lastSeq, seq ?? 0)
      known = lastSeq
    },

    /**
     * Takes what a conflict told of.
     * @param told the topic's last seq, where `expected` was expected.
     */
    async catchUp(told: number, expected: number): Promise<void> {
      const isTaken = (): boolean => told > expected && told <= lastSeq
      // The stream most likely brings it; asking costs a request.
      if (!isTaken() && hasMet && told > expected) await arrival(told)
      if (!isTaken()) await load()
      for (let lags = 0; isOpen && seqOf(place) < told; lags += 1) {
        await lag(lags)
        await load()
      }
      if (isTaken()) known = Math.max(known, told)
      if (isTaken() || !isOpen) return
      // What is neither on the stream nor retained lies before `after`, has outlived its `ttl_ms`,
      // or is of a type that the client filters out. A smaller seq: the gateway has forgotten a
      // topic that was quiet for an hour (PROTOCOL.md, P10).
      if (told > expected && !hasMet && after === 'earliest')
        fail(new Error('the first events are not retained any more'))
      known = told
    },
  }
}
