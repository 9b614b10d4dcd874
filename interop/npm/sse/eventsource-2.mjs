import EventSource from 'eventsource-2'
import { listen } from './standard.mjs'

export const open = (url, _token, report) => listen(new EventSource(url), report)
