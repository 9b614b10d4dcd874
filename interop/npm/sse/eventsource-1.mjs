import EventSource from 'eventsource-1'
import { listen } from './standard.mjs'

export const open = (url, _token, report) => listen(new EventSource(url), report)
