import { EventSource } from 'extended-eventsource'
import { listen } from './standard.mjs'

export const open = (url, _token, report) => listen(new EventSource(url), report)
