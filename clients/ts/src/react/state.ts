import type { Client, ThroughlineEvent, TopicState } from '@throughline/client'
import { useEffect } from 'react'
import { useClient } from './context.js'
import { useStateOf } from './events.js'
import { isPassing, pause, retryDelay } from './retry.js'

/** When the state is fetched again while the stream has brought nothing: by then it has begun. */
const LOOKS_MS = [1000, 5000, 25_000]
/** Events of the stream that are kept until the state has reached the first of them. */
const EARLY_MAX = 1000

/** The state of a topic as a client has it. */
export interface StateView {
  /** The latest event of each key. */
  readonly keys: ReadonlyMap<string, ThroughlineEvent>
  /** The gateway does not have all keys: fetch the state from the application. */
  readonly isPartial: boolean
  /** Whether the state has been fetched. Before that `keys` has what has changed so far. */
  readonly isLoaded: boolean
}

const NOTHING: StateView = { keys: new Map(), isPartial: false, isLoaded: false }

const seqOf = (cursor: string): number => Number(cursor.split('.')[1])

/**
 * Follows the state of one topic: the latest event of each key, fetched once and kept by the
 * stream. The stream may begin later than the point of the state that was fetched. So its events
 * are kept, and the state is fetched again, until its point has reached the first of them. A topic
 * that keeps no state (`--state`) has the keys that the stream brings.
 * @returns ends it.
 */
// Its inner functions share the state of one follower.
export function followState(client: Client, name: string, update: (view: StateView) => void): () => void {
  const topic = client.topic(name)
  const early: ThroughlineEvent[] = []
  let keys = new Map<string, ThroughlineEvent>()
  let view: StateView = NOTHING
  let hasMet = false
  let isOpen = true
  let flight = 0

  function set(event: ThroughlineEvent): void {
    const { key, seq, data } = event
    if (key === undefined || seq === undefined || (keys.get(key)?.seq ?? 0) >= seq) return
    if (data === null) keys.delete(key)
    else keys.set(key, event)
  }

  function show(more?: Partial<StateView>): void {
    view = { ...view, keys: new Map(keys), ...more }
    update(view)
  }

  function heard(event: ThroughlineEvent): void {
    if (event.key === undefined || event.seq === undefined || event.type.startsWith('presence.')) return
    if (!hasMet && early.push(event) > EARLY_MAX) early.shift()
    set(event)
    show()
  }

  function take({ cursor, partial, events }: TopicState): void {
    const point = seqOf(cursor)
    keys = new Map()
    events.forEach(set)
    const behind = early.filter(({ seq = 0 }) => seq > point)
    behind.forEach(set)
    const first = early[0]?.seq
    hasMet = first !== undefined && point >= first
    if (hasMet) early.length = 0
    show({ isLoaded: true, isPartial: partial })
  }

  async function load(): Promise<void> {
    flight += 1
    const own = flight
    for (let tries = 0; isOpen && own === flight; tries += 1) {
      try {
        const state = await topic.state()
        if (isOpen && own === flight) take(state)
        return
      } catch (error) {
        // It keeps none, or this user may not see it: the next look would be refused too.
        if (!isPassing(error)) return looks.forEach(clearTimeout)
        await pause(retryDelay(error, tries))
      }
    }
  }

  const offs = [
    topic.onAny(heard),
    topic.onReset(({ refetch_after_ms }) => {
      early.length = 0
      hasMet = false
      looks.push(setTimeout(() => void load(), refetch_after_ms))
    }),
  ]
  const looks = LOOKS_MS.map((ms) => setTimeout(() => hasMet || void load(), ms))
  void load()
  return () => {
    isOpen = false
    looks.forEach(clearTimeout)
    for (const off of offs) off()
  }
}

/**
 * Where things stand in a topic, and then what changes: the latest event of each key. The gateway's
 * `--state` names the topics that keep it for those who come late.
 * @param topic null: none.
 */
export function useTopicState(topic: string | null): StateView {
  const client = useClient()
  const [view, setView] = useStateOf<StateView>(NOTHING, [client, topic])
  useEffect(() => (topic ? followState(client, topic, setView) : undefined), [client, topic, setView])
  return view
}
