import { EventSource } from 'eventsource-3'
import { listen } from './standard.mjs'

export const open = (url, _token, report) => listen(new EventSource(url), report)
