import type { Client, EventMap, ThroughlineEvent } from '@throughline/client'
import { type Dispatch, type SetStateAction, useCallback, useEffect, useRef, useState } from 'react'
import { useClient } from './context.js'

/** Always the value of the latest render, without making effects run again. */
export function useLatest<T>(value: T): { readonly current: T } {
  const ref = useRef(value)
  useEffect(() => {
    ref.current = value
  })
  return ref
}

/**
 * State about something. When that is something else the state is the initial one again, in the
 * same render, and what was set for the former is dropped.
 * @param initial may be written inline.
 * @param about compared one by one, like dependencies of an effect.
 */
export function useStateOf<S>(initial: S, about: readonly unknown[]): [S, Dispatch<SetStateAction<S>>] {
  const [held, setHeld] = useState({ about, state: initial })
  const isOther = held.about.some((each, index) => each !== about[index])
  const current = isOther ? { about, state: initial } : held
  if (isOther) setHeld(current)
  const { about: own, state } = current
  const set = useCallback(
    (change: SetStateAction<S>) =>
      setHeld((held) => {
        if (held.about !== own) return held
        const state = change instanceof Function ? change(held.state) : change
        return state === held.state ? held : { about: own, state }
      }),
    [own],
  )
  return [state, set]
}

/** Hears a topic's events, or without one all of them. @returns stops listening. */
export const listen = (client: Client, topic: string | undefined, hear: (event: ThroughlineEvent) => void) =>
  (topic ? client.topic(topic) : client).onAny(hear)

/**
 * State made of events. It starts anew when client, topic or `about` is another. Every event
 * counts, also when several arrive between two renders.
 * @param topic undefined: of every event; null: of none.
 * @param about what the state is about, beside the topic.
 */
export function useFold<S>(
  client: Client,
  topic: string | null | undefined,
  reduce: (state: S, event: ThroughlineEvent) => S,
  initial: S,
  about?: string,
): [S, Dispatch<SetStateAction<S>>] {
  const [state, setState] = useStateOf(initial, [client, topic, about])
  const latest = useLatest(reduce)
  useEffect(() => {
    if (topic !== null) return listen(client, topic, (event) => setState((state) => latest.current(state, event)))
  }, [client, topic, setState, latest])
  return [state, setState]
}

const isOf = (type: string, event: ThroughlineEvent): boolean => type === '*' || event.type === type

/**
 * Calls back on each event of a type (`*`: of any). The callback may be written inline.
 * @param topic subscribes to that topic and hears only its events.
 */
export function useEvent<M extends EventMap, T extends keyof M & string>(
  type: T,
  callback: (event: ThroughlineEvent<M[T], T>) => void,
  topic?: string,
): void {
  const client = useClient()
  const latest = useLatest(callback)
  useEffect(
    () => listen(client, topic, (event) => isOf(type, event) && latest.current(event as ThroughlineEvent<M[T], T>)),
    [client, type, topic, latest],
  )
}

/** State made of events by a reducer, which may be written inline. */
export function useEventState<S, D = unknown>(
  type: string,
  reducer: (state: S, event: ThroughlineEvent<D>) => S,
  initial: S,
  topic?: string,
): S {
  const reduce = (state: S, event: ThroughlineEvent): S =>
    isOf(type, event) ? reducer(state, event as ThroughlineEvent<D>) : state
  return useFold(useClient(), topic, reduce, initial)[0]
}
