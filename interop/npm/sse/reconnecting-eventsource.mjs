import ReconnectingEventSource from 'reconnecting-eventsource'
import { EventSource } from 'undici'
import { listen } from './standard.mjs'

const Source = ReconnectingEventSource.default ?? ReconnectingEventSource

export const open = (url, _token, report) => listen(new Source(url, { eventSourceClass: EventSource }), report)
