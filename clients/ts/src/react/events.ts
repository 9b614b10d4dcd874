import type { Client, EventMap, ThroughlineEvent } from '@throughline/client'
import { useEffect, useReducer, useRef } from 'react'
import { useClient } from './context.js'

/** Always the function of the latest render, without making effects run again. */
export function useLatest<T>(value: T): { readonly current: T } {
  const ref = useRef(value)
  useEffect(() => {
    ref.current = value
  })
  return ref
}

const listen = (client: Client, type: string, topic: string | undefined, heard: (event: ThroughlineEvent) => void) => {
  const any = (event: ThroughlineEvent): void => {
    if (type === '*' || event.type === type) heard(event)
  }
  return topic ? client.topic(topic).onAny(any) : client.onAny(any)
}

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
    () => listen(client, type, topic, (event) => latest.current(event as ThroughlineEvent<M[T], T>)),
    [client, type, topic, latest],
  )
}

/** State made of events by a reducer: every event counts, also when several arrive between two renders. */
export function useEventState<S, D = unknown>(
  type: string,
  reducer: (state: S, event: ThroughlineEvent<D>) => S,
  initial: S,
  topic?: string,
): S {
  const [state, dispatch] = useReducer(reducer, initial)
  useEvent<EventMap, string>(type, dispatch, topic)
  return state
}
